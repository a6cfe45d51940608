"""Check that a file or directory can be read, or written: a file system that hangs is a "no"."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.adapters.checks.child_check import ChildProbe, list_child_settings, run_in_child
from autopilot.spec.plan import Command

BATCH_SYSTEM = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathProbe(ChildProbe):
    """Settings of a check of a path."""

    kind: ClassVar[str] = "path"

    path: str
    access: Literal["read", "write"] = "read"


PROBE_TYPE = PathProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of the key `path`."""
    from typing import Annotated

    from pydantic import BeforeValidator, Field, PlainValidator

    from autopilot.spec import fields as f
    from autopilot.spec.model_base import Shorthand, StrictModel

    class PathAccess(StrictModel):
        """A file or directory that must be there and answer."""

        path: f.AbsolutePath = Field(description="a file, or a directory with an entry")
        access: Annotated[Literal["read", "write"], PlainValidator(f.build_choice_validator("read", "write"))] = Field(
            default="read", description="read or write"
        )

    def expand(value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    annotation = Annotated[PathAccess | None, BeforeValidator(expand), Shorthand("string")]
    return annotation, Field(default=None, description="a path that must be readable, or an object with path, access")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> PathProbe:
    """Return the settings for the plan."""
    return PathProbe(path=value.path, access=value.access, **list_child_settings(build_command))


async def run(probe: PathProbe, context: CheckContext) -> CheckResult:
    """Look at the path once, in a child process."""
    return await run_in_child(probe, context, f"cannot {probe.access} {probe.path}")


def examine(probe: PathProbe) -> CheckResult:
    """Read the first byte of a file, or the first entry of a directory; the caller may hang."""
    try:
        found = _read_beginning(probe.path)
    except OSError as error:
        return False, f"cannot {probe.access} {probe.path}: {error.strerror}"
    if probe.access == "write":
        if not os.access(probe.path, os.W_OK, effective_ids=True):
            return False, f"cannot write {probe.path}: this user may not, or it is mounted read-only"
        return True, f"{probe.path} can be written"
    if not found:
        return False, f"cannot read {probe.path}: an empty directory, so nothing is mounted there"
    return True, f"{probe.path} can be read"


def _read_beginning(path: str) -> bool:
    """Return True unless the path is an empty directory. Raises OSError when it cannot be read."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    if stat.S_ISREG(mode):
        with open(path, "rb", buffering=0) as file:
            file.read(1)
    elif not os.access(path, os.R_OK, effective_ids=True):  # to open a device or a FIFO may act
        raise PermissionError(1, "this user may not")
    return True
