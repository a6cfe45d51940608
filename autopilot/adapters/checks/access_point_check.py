"""Check a job's health by asking the adapter of HTCondor's access point about one aspect of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.spec.plan import Command, Probe

BATCH_SYSTEM = "access_point"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPointProbe(Probe):
    """Settings of a check by the access point.

    Attributes:
        aspect: `schedd`: it counts its queue; `pool`: the collector knows it; `master`: its sd_notify heartbeat is
            fresh; `space`: SPOOL and LOG have room.
    """

    kind: ClassVar[str] = "access_point"

    aspect: Literal["schedd", "pool", "master", "space"]


PROBE_TYPE = AccessPointProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of `jobs[].health.access_point`."""
    from typing import Annotated

    from pydantic import Field, PlainValidator

    from autopilot.spec import fields as f

    aspect = Annotated[
        Literal["schedd", "pool", "master", "space"],
        PlainValidator(f.build_choice_validator("schedd", "pool", "master", "space")),
    ]
    return aspect | None, Field(default=None, description="schedd, pool, master or space")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> AccessPointProbe:
    """Return the settings for the plan."""
    return AccessPointProbe(aspect=value)


async def run(probe: AccessPointProbe, context: CheckContext) -> CheckResult:
    """Ask once."""
    if context.batch_system is None:
        return False, "this check needs an access_point section"
    return await context.batch_system.check(probe.aspect, context.timeout_s)
