"""HTCondor by the names its packages and its admins use, on a worker whose PID 1 is the supervisor."""

from __future__ import annotations

import json

import pytest

from tests.e2e.node import Node

pytestmark = pytest.mark.real("root", "htcondor")


def test_service_condor(pool):
    """`service condor reload` makes the master read its configuration again and `restart` brings another one, which
    joins the pool again; the container lives on.
    """
    node = Node(pool).wait_until_joined()
    node.worker.run(["autopilot", "shims", "/usr/local/sbin"])

    def get_job() -> dict[str, object]:
        return json.loads(node.worker.run(["autopilot", "status", "condor-master", "-o", "json"]))

    first = get_job()
    node.worker.run(["service", "condor", "status"])
    node.worker.run(["service", "condor", "reload"])
    log = "/var/log/condor/MasterLog"
    pool.wait_until(lambda: "SIGHUP" in node.worker.read_file(log), 20, "the master reads its configuration again")
    assert get_job()["pid"] == first["pid"]
    healthy = len(node.find_events("^marked healthy$"))
    node.worker.run(["systemctl", "restart", "condor.service"])
    assert get_job()["pid"] not in (first["pid"], None)
    pool.wait_until(lambda: len(node.find_events("^marked healthy$")) > healthy, 60, "the new master is healthy")
    node.worker.run(["systemctl", "is-active", "--quiet", "condor"])
    assert node.start_job(1)
