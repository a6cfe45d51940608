"""Define the section of the job spec for an access point."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from signal import SIGQUIT
from typing import Annotated, Any, ClassVar, cast

from pydantic import Field, PlainValidator

from autopilot.adapters.batch.htcondor.access_point.access_point_settings import AccessPointSettings, Ending
from autopilot.spec import fields as f
from autopilot.spec.batch_section import BatchSection, StopEscalation
from autopilot.spec.file_problems import find_read_problem, find_write_problem
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.plan import BatchSettings
from autopilot.spec.quantities import InvalidValueError


def _parse_schedd_name(value: Any) -> str:
    """Return a name with `@`; HTCondor appends the host's name to any other, and the next life's host may differ."""
    name = f.parse_text(value)
    if "@" not in name.strip("@"):
        raise InvalidValueError(f'cannot be "{name}"; write NAME@DOMAIN, which stays the same on every host')
    return name


class AccessPoint(BatchSection):
    """The access point (condor_schedd) in this container."""

    program: ClassVar[str] = "condor_master"
    drain_description: ClassVar[str] = "queue: no new jobs, until the queue is empty; handover: to the next life"
    drain_choices: ClassVar[tuple[str, ...]] = ("queue", "handover")
    runs_payloads: ClassVar[bool] = False

    job: f.Text | None = Field(
        default=None, description="the job that is condor_master; found by its command when left out"
    )
    poll: f.PositiveDuration = Field(default=15.0, description="the queue, membership and space are looked at so often")
    path: f.AbsolutePath = Field(
        default="/etc/condor/config.d/50-autopilot.conf", description="the configuration file that is written"
    )
    condor_host: f.Text | None = Field(default=None, description="the central manager; $CONDOR_HOST when left out")
    name: Annotated[str, PlainValidator(_parse_schedd_name)] | None = Field(
        default=None, description="SCHEDD_NAME, with @; as the image's configuration has it when left out"
    )
    spool: f.AbsolutePath | None = Field(
        default=None, description="SPOOL, on a volume; as the image's configuration has it when left out"
    )
    token: f.AbsolutePath | None = Field(default=None, description="a file or directory to copy tokens from")
    settings: f.Environment = Field(default_factory=dict, description="further configuration, over the written one")
    min_spool: f.Size = Field(default=1 << 30, description="free bytes in SPOOL, below which `space` fails")
    min_log: f.Size = Field(default=100 << 20, description="free bytes in LOG, below which `space` fails")

    def compile_settings(self) -> AccessPointSettings:
        """Return the settings for the plan."""
        return AccessPointSettings(**self.model_dump(exclude={"job"}))

    def apply_drain_choice(self, settings: BatchSettings, choice: str) -> BatchSettings:
        """Return the settings with the way the life ends."""
        assert isinstance(settings, AccessPointSettings), "as compile_settings returned them"
        return replace(settings, ending=cast(Ending, choice))

    def list_machine_problems(self) -> Iterator[tuple[KeyPath, str, str]]:
        """Yield what the configuration needs and this machine lacks."""
        if problem := find_write_problem(os.path.dirname(self.path)):
            yield ("path",), "written", problem
        if self.spool is not None and (problem := find_write_problem(self.spool)):
            yield ("spool",), "used", problem
        if self.token is not None and (problem := find_read_problem(self.token, takes_directory=True)):
            yield ("token",), "copied", problem

    def build_stop_escalation(self, timeout_s: float) -> StopEscalation:
        """Return a SIGQUIT, the fast shutdown, before the end: a killed schedd leaves its name in the collector."""
        return ((timeout_s * 2 / 3, int(SIGQUIT)),)
