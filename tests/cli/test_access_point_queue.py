"""The queue of an access point on the command line and in the metrics."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from autopilot.adapters.telemetry.life_metrics import LifeMetrics
from autopilot.api.messages import Status
from autopilot.cli.status import format_queue
from autopilot.cli.why import explain


def build_status(queue: dict[str, int] | None, *, refusing: bool = False) -> Status:
    """Return the parts of a status that concern an access point whose master runs."""
    job = {"name": "condor-master", "state": "running", "pid": 7, "since": 0.0, "health": "healthy", "why": {}}
    status: dict[str, Any] = {
        "jobs": [job],
        "gates": [],
        "shutdown": "up",
        "maintenance": False,
        "payloads": [],
        "troubles": {},
        "lifetime": {
            "phase": "draining",
            "ends": None,
            "reason": "drain",
            "drain_began": 0.0,
            "payloads_taken": 0,
            "payload_limit": None,
            "batch_job": None,
        },
        "access_point": {"name": "ap@pool", "job": "condor-master", "queue": queue, "refusing_jobs": refusing},
    }
    return cast(Status, status)


@pytest.mark.parametrize(
    ("queue", "refusing", "line"),
    [
        (None, False, "condor_schedd has not answered"),
        ({"idle": 0, "running": 0}, False, "no job"),
        ({"idle": 2, "running": 0, "held": 1}, True, "2 idle, 1 held; new jobs are refused"),
    ],
)
def test_queue_in_one_line(queue: dict[str, int] | None, refusing: bool, line: str) -> None:
    """`autopilot status` shows the states that have jobs, and whether new ones are refused."""
    assert format_queue(build_status(queue, refusing=refusing)["access_point"]) == line


@pytest.mark.parametrize("refusing", [True, False])
def test_why_the_life_goes_on(refusing: bool) -> None:
    """`autopilot why` names the queue while the life waits for it, and only then."""
    line = explain(build_status({"running": 3}, refusing=refusing), "condor-master", 1.0)
    assert line.endswith("; the life ends when the queue is empty: 3 running; new jobs are refused") is refusing


def test_queue_as_a_metric() -> None:
    """The metric has each state, and no sample while the schedd does not answer."""
    registry = CollectorRegistry()
    metrics = LifeMetrics(registry, metadata={})

    def scrape(queue: dict[str, int] | None) -> str:
        metrics.update_from_status(
            build_status(queue), epoch_s=0, orphans_reaped=0, log_dropped_bytes=0, log_dropped_lines=0,
            log_waiting_bytes=0, loop_lag_s=0,
        )  # fmt: skip
        return generate_latest(registry).decode()

    assert 'autopilot_queue_jobs{state="held"} 1.0' in scrape({"running": 0, "held": 1})
    assert "autopilot_queue_jobs{" not in scrape(None)
