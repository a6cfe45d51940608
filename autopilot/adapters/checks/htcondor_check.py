"""Check a job's health by asking the HTCondor adapter about one aspect of the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.spec.plan import Command, Probe

BATCH_SYSTEM = "htcondor"


@dataclass(frozen=True, slots=True, kw_only=True)
class HtcondorProbe(Probe):
    """Settings of a check by HTCondor.

    Attributes:
        aspect: `startd`: it answers a direct query; `pool`: the collector knows this node; `master`: its sd_notify
            heartbeat is fresh; `space`: EXECUTE and LOG have room.
    """

    kind: ClassVar[str] = "htcondor"

    aspect: Literal["startd", "pool", "master", "space"]


PROBE_TYPE = HtcondorProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of `jobs[].health.htcondor`."""
    from typing import Annotated

    from pydantic import Field, PlainValidator

    from autopilot.spec import fields as f

    aspect = Annotated[
        Literal["startd", "pool", "master", "space"],
        PlainValidator(f.build_choice_validator("startd", "pool", "master", "space")),
    ]
    return aspect | None, Field(default=None, description="startd, pool, master or space")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> HtcondorProbe:
    """Return the settings for the plan."""
    return HtcondorProbe(aspect=value)


async def run(probe: HtcondorProbe, context: CheckContext) -> CheckResult:
    """Ask once."""
    if context.batch_system is None:
        return False, "this check needs an htcondor section"
    return await context.batch_system.check(probe.aspect, context.timeout_s)
