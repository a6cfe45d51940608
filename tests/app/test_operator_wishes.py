"""Requests of operators that overtake each other, against a running supervisor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.app.harness import SupervisorProcess, eventually, shell

pytestmark = pytest.mark.slow  # seconds each: for `make test`, not for `make check`


def test_a_start_during_the_pre_stop_job_is_carried_out(tmp_path: Path) -> None:
    """A job that is stopped, and started again while its pre-stop job runs, comes back, and the life goes on."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    spec = {
        "jobs": [
            {"name": "main", "exec": ["sleep", "1000"]},
            {"name": "pre-stop", "exec": shell(f"read line < {gate}"), "when": {"source": "main", "once": "stopping"}},
        ]
    }
    with SupervisorProcess(tmp_path, spec) as pilot:
        eventually((pilot.state / "autopilot.sock").exists, "the supervisor answers")
        eventually(lambda: pilot.get_pids()["main"] is not None, "the job runs")
        first = pilot.get_pids()["main"]
        assert pilot.run_verb("stop", "--no-wait", "main").returncode == 0
        eventually(lambda: pilot.get_pids()["pre-stop"] is not None, "the pre-stop job runs")
        assert pilot.get_pids()["main"] == first, "it waits for its pre-stop job"
        assert pilot.run_verb("start", "--no-wait", "main").returncode == 0
        gate.write_text("go\n")
        eventually(lambda: pilot.get_pids()["main"] not in (None, first), "the job runs again")
        pilot.stop()
