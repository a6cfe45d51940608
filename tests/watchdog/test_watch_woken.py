"""`watch` is woken at once by orders and by a changed configuration, on a real engine."""

from __future__ import annotations

from functools import partial

import pytest

from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import SLOT, get_slot, is_refilled, kill_container
from tests.watchdog.test_verbs import run_verb

pytestmark = pytest.mark.real("docker", "registry")


def test_orders_and_changes_wake_watch(docker_site: Site) -> None:
    """Without any pass of its own for an hour, `watch` acts on a repaired file, `retry`, `resume` and `uncordon`."""
    site = docker_site
    site.write_config({"devices": ["/dev/null/none"]}, failures={"initial": "1h", "longest": "1h"})
    site.push_image()
    with site.run_watch("--every", "1h") as watch:
        eventually(lambda: site.get_slots()[SLOT]["state"] == "backoff", 30, "the start has failed")
        site.write_config({"devices": ["/dev/null"]})
        eventually(lambda: site.read_audit("config-loaded"), 30, "the repaired file is read")
        assert get_slot(site)["state"] == "backoff", "a changed file ends no wait"
        run_verb(site, "retry", SLOT)
        eventually(lambda: get_slot(site)["container"], 30, "the slot is filled")

        site.write_config(failures={"initial": "1s", "longest": "1s"})
        for before, after in (("pause", "resume"), ("cordon", "uncordon")):
            container = get_slot(site)["container"]
            run_verb(site, before)
            kill_container(site, container)
            eventually(lambda: get_slot(site)["state"] in {"paused", "cordoned"}, 30, "the slot stays empty")
            run_verb(site, after)
            eventually(partial(is_refilled, site, container), 30, "the slot is filled again")
        site.write_config({"count": 2})
        eventually(lambda: site.get_slots()["wn-02"]["state"] == "running", 30, "the new slot is filled")
        assert watch.poll() is None
