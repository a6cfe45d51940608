"""Check that a file system has free space."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.adapters.checks.child_check import ChildProbe, list_child_settings, run_in_child
from autopilot.spec.plan import Command

BATCH_SYSTEM = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceProbe(ChildProbe):
    """Settings of a check of free space."""

    kind: ClassVar[str] = "space"

    path: str
    free: int  # bytes that users other than root can still write


PROBE_TYPE = SpaceProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of the key `space`."""
    from pydantic import Field

    from autopilot.spec import fields as f
    from autopilot.spec.model_base import StrictModel

    class Space(StrictModel):
        """Free space on the file system of a path."""

        path: f.AbsolutePath = Field(description="a path on the file system")
        free: f.Size = Field(description="the least free space, e.g. 20GB")

    return Space | None, Field(default=None, description="an object with path and free: the least free space there")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> SpaceProbe:
    """Return the settings for the plan."""
    return SpaceProbe(path=value.path, free=value.free, **list_child_settings(build_command))


async def run(probe: SpaceProbe, context: CheckContext) -> CheckResult:
    """Ask the file system once, in a child process."""
    return await run_in_child(probe, context, f"cannot find the free space of {probe.path}")


def examine(probe: SpaceProbe) -> CheckResult:
    """Compare the free space with the wanted one; the caller may hang."""
    try:
        status = os.statvfs(probe.path)
    except OSError as error:
        return False, f"cannot find the free space of {probe.path}: {error.strerror}"
    free = status.f_bavail * status.f_frsize
    if free < probe.free:
        return False, f"{probe.path} has {_format_bytes(free)} free, and {_format_bytes(probe.free)} are needed"
    return True, f"{probe.path} has {_format_bytes(free)} free"


def _format_bytes(number: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
