"""Create the batch system of a plan."""

from __future__ import annotations

from typing import cast

from autopilot.adapters.batch.batch_system import BatchSystem, SupervisorServices
from autopilot.spec.extensions import load_batch_system
from autopilot.spec.plan import Plan


def create_batch_system(plan: Plan, services: SupervisorServices) -> BatchSystem | None:
    """Return the batch system of a plan; None when the plan neither has one nor drains by commands."""
    system: BatchSystem | None = None
    if plan.batch is not None:
        kind = load_batch_system(plan.batch.system)
        system = cast(BatchSystem, kind.create_system(plan.batch, services))
    if plan.lifetime is None or plan.lifetime.drain.by_batch_system:
        return system
    from autopilot.adapters.batch.command import CommandDrain

    return CommandDrain(plan.lifetime.drain, services, system)
