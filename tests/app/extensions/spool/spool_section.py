"""Define the spool's section of the job spec."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from autopilot.spec import fields as f
from autopilot.spec.batch_section import BatchSection
from autopilot.spec.plan import BatchSettings
from spool.spool_extension import SpoolLimits, SpoolSettings


class Spool(BatchSection):
    """The spool in this container."""

    program: ClassVar[str] = "spoold"
    drain_description: ClassVar[str] = "until no file is left"
    stop_timeout_s: ClassVar[float] = 7.0

    directory: f.AbsolutePath = Field(description="where its files are")
    broken: f.Flag = Field(default=False, description="the eviction fails")

    def compile_settings(self) -> BatchSettings:
        """Return the settings for the plan."""
        return SpoolSettings(directory=self.directory, broken=self.broken, limits=SpoolLimits(poll=0.01))
