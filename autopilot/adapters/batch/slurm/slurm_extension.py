"""Register Slurm as a batch system: the members of `autopilot.spec.extensions.BatchSystemKind`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autopilot.adapters.batch.slurm.slurm_settings import SlurmSettings

if TYPE_CHECKING:
    from autopilot.adapters.batch.batch_system import BatchSystem, SupervisorServices
    from autopilot.spec.batch_section import BatchSection
    from autopilot.spec.plan import Batch

SETTINGS_TYPE = SlurmSettings


def load_section() -> type[BatchSection]:
    """Return the pydantic model of the job spec's section."""
    from autopilot.adapters.batch.slurm.slurm_section import Slurm

    return Slurm


def create_system(batch: Batch, services: SupervisorServices) -> BatchSystem:
    """Return the object that the supervisor drives."""
    from autopilot.adapters.batch.slurm.slurm_system import SlurmSystem

    assert isinstance(batch.settings, SlurmSettings), "the registry chose this package by the plan's name"
    return SlurmSystem(batch.settings, services)
