"""Run a spool directory as a batch system: a file in `running` is a payload. As a newcomer would add one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from autopilot.spec.plan import BatchSettings

if TYPE_CHECKING:
    from autopilot.adapters.batch.batch_system import BatchSystem, SupervisorServices
    from autopilot.spec.batch_section import BatchSection
    from autopilot.spec.plan import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolLimits:
    """A nested object of the settings."""

    poll: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings(BatchSettings):
    """Settings of the spool."""

    nested_types: ClassVar[Mapping[str, type]] = {"limits": SpoolLimits}

    directory: str
    limits: SpoolLimits = SpoolLimits()
    broken: bool = False


SETTINGS_TYPE = SpoolSettings


def load_section() -> type[BatchSection]:
    """Return the pydantic model of the job spec's section."""
    from spool.spool_section import Spool

    return Spool


def create_system(batch: Batch, services: SupervisorServices) -> BatchSystem:
    """Return the object that the supervisor drives."""
    from spool.spool_system import SpoolSystem

    assert isinstance(batch.settings, SpoolSettings)
    return SpoolSystem(batch.settings, services)
