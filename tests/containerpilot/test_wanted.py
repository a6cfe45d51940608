"""Features that ContainerPilot's users asked for and never got work with real processes.

Shown elsewhere: a user per job (tests/app/test_supervisor.py::test_user_with_its_groups), a Consul key as a watch
(tests/adapters/consul/test_watches.py), the calendar itself (tests/machines/test_cron_schedule.py).
"""

from __future__ import annotations

import datetime
import json

import pytest

from tests.app.harness import SupervisorProcess, eventually, shell

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`


def test_several_sources(tmp_path):
    """A job that waits for several events starts after the last of them, and not before."""
    jobs = [
        {"name": "late", "exec": "sleep 1"},
        {"name": "early", "exec": "sleep 0.2"},
        {
            "name": "both",
            "exec": "echo both",
            "when": {"all": [{"source": name, "once": "exitSuccess"} for name in ("late", "early")]},
        },
    ]
    with SupervisorProcess(tmp_path, {"jobs": jobs}) as pilot:
        assert pilot.wait() == 0
        order = [(line["job"], line["message"].split(",")[0]) for line in pilot.find_events("") if "job" in line]
        assert order.index(("both", "started")) > max(order.index((name, "ended")) for name in ("late", "early"))


def test_several_sources_give_up(tmp_path):
    """It gives up when they have not all come within its `timeout`."""
    both = {"all": [{"source": "app", "once": "exitFailed"}, {"once": "startup"}], "timeout": "300ms"}
    jobs = [{"name": "app", "exec": "sleep 1000"}, {"name": "both", "exec": "true", "when": both}]
    with SupervisorProcess(tmp_path, {"jobs": jobs}) as pilot:
        pilot.wait_for_event("both", "awaited event did not happen within")
        assert pilot.run_verb("stop", "app").returncode == 0
        pilot.wait_for_event("app", "ended")
        pilot.stop()
        assert not [line for line in pilot.find_events("started") if line["job"] == "both"]


def test_once_with_interval(tmp_path):
    """`interval` beside `once` is the time from the event to the run."""
    late = {"name": "late", "exec": "true", "when": {"source": "app", "once": "exitSuccess", "interval": "1s"}}
    with SupervisorProcess(tmp_path, {"jobs": [{"name": "app", "exec": "true"}, late]}) as pilot:
        assert pilot.wait() == 0
        took = pilot.wait_for_event("late", "started")["arrived"] - pilot.wait_for_event("app", "ended")["arrived"]
        assert took > 0.9


def test_cron(tmp_path):
    """A job with `cron` runs at those times by the wall clock, and status says when the next one is."""
    job = {"name": "tick", "exec": shell("date +%S.%N"), "when": {"cron": "*/3 * * * * *"}, "restarts": 1}
    idle = {"name": "yearly", "exec": "true", "when": {"cron": "@yearly", "timezone": "UTC"}}
    with SupervisorProcess(tmp_path, {"jobs": [job, idle, {"name": "app", "exec": "sleep 1000"}]}) as pilot:
        eventually(lambda: len(pilot.list_job_output("tick")) == 2, "two runs")
        for second in map(float, pilot.list_job_output("tick")):
            assert second % 3 < 2, "on its second, as far as a busy machine lets it start"
        (shown,) = (
            job for job in json.loads(pilot.run_verb("status", "-o", "json").stdout)["jobs"] if job["name"] == "yearly"
        )
        upcoming = datetime.datetime.fromtimestamp(shown["why"]["until"], datetime.UTC)
        assert (upcoming.month, upcoming.day, upcoming.hour, shown["runs"]) == (1, 1, 0, 0)
        assert pilot.stop() == 0
