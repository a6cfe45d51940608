"""Short ways to write plans in tests."""

from __future__ import annotations

from typing import Any

from autopilot.adapters.checks.exec_check import ExecProbe
from autopilot.machines.actions import Finish
from autopilot.runtime.simulated_world import SimulatedWorld
from autopilot.spec.plan import Command, Health, Job, Plan, Trigger, When

TRUE = Command(argv=("true",))
NO_PROCESS = Command(argv=())


def build_job(name: str, **fields: Any) -> Job:
    return Job(**{"name": name, "command": TRUE, **fields})


def build_plan(*jobs: Job, **fields: Any) -> Plan:
    return Plan(jobs=jobs, **fields)


def build_when(source: str, event: str, **fields: Any) -> When:
    return When(triggers=(Trigger(source=source, event=event),), **fields)


def build_check(interval: float = 10.0, **fields: Any) -> Health:
    return Health(
        **{"probe": ExecProbe(command=TRUE), "interval": interval, "timeout": interval, "ttl": 3 * interval, **fields}
    )


def get_finish(world: SimulatedWorld) -> Finish:
    """Return the action that ended the life; it must have ended."""
    assert world.finish is not None
    return world.finish
