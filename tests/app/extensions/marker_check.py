"""Check a job's health by a file that must be there: a kind of check as a newcomer would add it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.spec.plan import Command, Probe

BATCH_SYSTEM = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerProbe(Probe):
    """Settings of a check by marker file."""

    kind: ClassVar[str] = "marker"

    path: str


PROBE_TYPE = MarkerProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of `jobs[].health.marker`."""
    from pydantic import Field

    from autopilot.spec import fields as f

    return f.AbsolutePath | None, Field(default=None, description="a file that must be there")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> MarkerProbe:
    """Return the settings for the plan."""
    return MarkerProbe(path=value)


async def run(probe: MarkerProbe, context: CheckContext) -> CheckResult:
    """Look once; a path that ends in `broken` stands for a defect of this module."""
    if probe.path.endswith("broken"):
        raise RuntimeError("a defect of the check")
    return os.access(probe.path, os.F_OK), f"{context.job}: {probe.path}"
