"""The life of a node, the same list for each batch system: what its queue says of the jobs, and what the node says."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest

from lab.lab_errors import LabError
from lab.pool import Pool
from lab.slurm_cluster import SlurmCluster
from tests.e2e.batch_sites import BatchSite, HtcondorSite, SlurmSite, use_cluster
from tests.e2e.node import AT_ONCE, CONFIG_PATH, compute_seconds_between

SITES = [
    pytest.param("htcondor", marks=pytest.mark.real("root", "htcondor"), id="htcondor"),
    pytest.param("slurm", marks=[pytest.mark.real("root", "slurm"), pytest.mark.xdist_group("slurm")], id="slurm"),
]
DEAF = "trap '' TERM; while :; do sleep 0.1; done"


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Iterator[BatchSite]:
    """A pool or cluster without nodes."""
    if request.param == "slurm":
        cluster: SlurmCluster = request.getfixturevalue("slurm_cluster")
        with use_cluster(cluster):
            yield SlurmSite(cluster)
    else:
        pool: Pool = request.getfixturevalue("pool")
        yield HtcondorSite(pool)


def test_expiry_while_busy(site: BatchSite) -> None:
    """The running job outlives the lifetime and completes, the next one is refused, and the node exits with 0."""
    node = site.start_lasting_node(max="1s").wait_until_joined()
    running = node.start_lasting_job()
    node.begin_lifetime()
    node.wait_for_event("drain begun")
    node.wait_until_retiring()
    refused = site.pool.submit(1)
    node.finish_jobs()
    assert node.wait_for_exit() == 0
    assert site.pool.get_job_status(running) == "Completed"
    assert site.pool.count_starts(running) == 1
    assert site.pool.get_job_status(refused) == "Idle"
    words = node.read_last_words()
    assert (words["reason"], words["exit_code"], words["payloads_run"], words["payloads_killed"]) == (
        "lifetime",
        0,
        1,
        0,
    )


def test_expiry_while_idle(site: BatchSite) -> None:
    """An idle node ends at once when its lifetime is over."""
    node = site.start_node(lifetime=site.build_lifetime(max="2s")).wait_until_joined()
    begun = node.wait_for_event("drain begun")
    assert node.wait_for_exit(20) == 0
    assert node.read_last_words()["reason"] == "lifetime"
    assert compute_seconds_between(begun, node.find_events("exit 0")[0]) < AT_ONCE


def test_idle_end(site: BatchSite) -> None:
    """A node on which nothing has run for long enough ends before its lifetime; while a job runs it does not."""
    node = site.start_lasting_node(max="1h", idle="2s").wait_until_joined()
    job = node.start_lasting_job()
    node.begin_lifetime()
    node.finish_jobs()
    assert node.wait_for_exit() == 0
    assert site.pool.get_job_status(job) == "Completed"
    assert node.read_last_words()["reason"] == "idle"
    ended, begun = node.find_events("payloads changed: 0 started, 1 ended")[0], node.find_events("drain begun")[0]
    assert compute_seconds_between(ended, begun) > 1.9


def test_deadline_soft(site: BatchSite) -> None:
    """At the drain's deadline the job gets its SIGTERM and the time for its clean-up; the end is recorded as forced."""
    script = "trap 'touch /tmp/cleaned-up; exit 0' TERM; while :; do sleep 0.1; done"
    node = site.start_node(lifetime={"grace": "60s", "drain": {site.key: True}}).wait_until_joined()
    job = node.start_job(script=script)
    node.drain("--deadline", "1s")
    assert node.wait_for_exit() == 75
    assert site.pool.get_job_status(job) == "Idle"
    words = node.read_last_words()
    assert (words["reason"], words["payloads_killed"]) == ("drain", 1)
    assert node.find_events("payloads are asked to end") and not node.find_events("drain grace expired")


def test_deadline_hard(site: BatchSite) -> None:
    """A job that ignores its SIGTERM is killed after the grace, and is Idle in its queue, not in limbo."""
    node = site.start_node(lifetime={"grace": "2s", "drain": {site.key: True}}).wait_until_joined()
    job = node.start_job(script=DEAF)
    node.drain("--deadline", "1s")
    assert node.wait_for_exit() == 75
    assert site.pool.get_job_status(job) == "Idle"
    assert node.find_events("drain grace expired")
    assert node.read_last_words()["payloads_killed"] == 1


def test_drain_by_command(site: BatchSite) -> None:
    """`autopilot drain` lets the running job finish, refuses the next, and returns when the node has ended."""
    node = site.start_node().wait_until_joined()
    running = node.start_lasting_job()
    node.drain()
    node.wait_until_retiring()
    refused = site.pool.submit(1)
    node.finish_jobs()
    assert node.wait_for_exit() == 0
    assert (site.pool.get_job_status(running), site.pool.get_job_status(refused)) == ("Completed", "Idle")
    assert node.read_last_words()["reason"] == "drain"


@pytest.mark.parametrize("script", ["exec sleep 300", DEAF], ids=["obedient", "deaf"])
def test_stop_while_busy(site: BatchSite, script: str) -> None:
    """SIGTERM to PID 1, as `docker stop` sends it, has the job Idle in its queue at once, and the exit is clean."""
    node = site.start_node().wait_until_joined()
    job = node.start_job(script=script)
    asked = time.monotonic()
    node.worker.send_signal(signal.SIGTERM)
    site.pool.wait_until(lambda: site.pool.get_job_status(job) == "Idle", 10, "the job is Idle again")
    assert time.monotonic() - asked < AT_ONCE
    assert node.wait_for_exit(20) == 0
    assert site.pool.get_job_status(job) == "Idle"
    words = node.read_last_words()
    assert (words["reason"], words["payloads_killed"]) == ("signal", 1)


def test_sigterm_drains(site: BatchSite) -> None:
    """With `on_sigterm: drain` SIGTERM lets the running job finish."""
    node = site.start_node(spec={"on_sigterm": "drain"}).wait_until_joined()
    job = node.start_lasting_job()
    node.worker.send_signal(signal.SIGTERM)
    node.wait_for_event("drain begun")
    node.finish_jobs()
    assert node.wait_for_exit() == 0
    assert site.pool.get_job_status(job) == "Completed"
    assert node.read_last_words()["reason"] == "signal"


def test_reload_while_busy(site: BatchSite) -> None:
    """A new job spec takes effect beside a running payload, which never notices. One that would restart the batch
    system is refused, and a lifetime that got shorter ends the node peacefully.
    """
    node = site.start_node(lifetime=site.build_lifetime(max="1h")).wait_until_joined()
    job = node.start_lasting_job()
    spec = json.loads(node.worker.read_file(CONFIG_PATH))
    spec["jobs"].append({"name": "sidecar", "exec": ["sleep", "1000"]})
    node.worker.write_file(CONFIG_PATH, json.dumps(spec))
    assert "sidecar: started" in node.worker.run(["autopilot", "reload"])
    other = json.loads(json.dumps(spec))
    next(one for one in other["jobs"] if one["name"] == site.main_name)["exec"].append("-v")
    node.worker.write_file(CONFIG_PATH, json.dumps(other))
    with pytest.raises(LabError, match="would kill the payloads"):
        node.worker.run(["autopilot", "reload"])
    spec["lifetime"]["max"] = "1s"
    node.worker.write_file(CONFIG_PATH, json.dumps(spec))
    node.worker.run(["autopilot", "reload", "--no-wait"])
    node.wait_for_event("drain begun")
    node.finish_jobs()
    assert node.wait_for_exit() == 0
    assert site.pool.get_job_status(job) == "Completed" and site.pool.count_starts(job) == 1
    assert len([line for line in node.find_events("^started$") if line["job"] == site.main_name]) == 1
    assert node.read_last_words()["reason"] == "lifetime"
