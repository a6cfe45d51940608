"""Register the access point as a batch system: the members of `autopilot.spec.extensions.BatchSystemKind`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autopilot.adapters.batch.htcondor.access_point.access_point_settings import AccessPointSettings

if TYPE_CHECKING:
    from autopilot.adapters.batch.batch_system import BatchSystem, SupervisorServices
    from autopilot.spec.batch_section import BatchSection
    from autopilot.spec.plan import Batch

SETTINGS_TYPE = AccessPointSettings


def load_section() -> type[BatchSection]:
    """Return the pydantic model of the job spec's section."""
    from autopilot.adapters.batch.htcondor.access_point.access_point_section import AccessPoint

    return AccessPoint


def create_system(batch: Batch, services: SupervisorServices) -> BatchSystem:
    """Return the object that the supervisor drives."""
    from autopilot.adapters.batch.htcondor.access_point.access_point_system import AccessPointSystem

    assert isinstance(batch.settings, AccessPointSettings), "the registry chose this package by the plan's name"
    return AccessPointSystem(batch.settings, services)
