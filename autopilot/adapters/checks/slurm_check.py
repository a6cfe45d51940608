"""Check a job's health by asking the Slurm adapter about one aspect of the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.spec.plan import Command, Probe

BATCH_SYSTEM = "slurm"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmProbe(Probe):
    """Settings of a check by Slurm.

    Attributes:
        aspect: `slurmd`: it answers a direct query; `node`: slurmctld knows this node and sends it jobs; `munge`: it
            makes credentials.
    """

    kind: ClassVar[str] = "slurm"

    aspect: Literal["slurmd", "node", "munge"]


PROBE_TYPE = SlurmProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of `jobs[].health.slurm`."""
    from typing import Annotated

    from pydantic import Field, PlainValidator

    from autopilot.spec import fields as f

    aspect = Annotated[
        Literal["slurmd", "node", "munge"], PlainValidator(f.build_choice_validator("slurmd", "node", "munge"))
    ]
    return aspect | None, Field(default=None, description="slurmd, node or munge")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> SlurmProbe:
    """Return the settings for the plan."""
    return SlurmProbe(aspect=value)


async def run(probe: SlurmProbe, context: CheckContext) -> CheckResult:
    """Ask once."""
    if context.batch_system is None:
        return False, "this check needs a slurm section"
    return await context.batch_system.check(probe.aspect, context.timeout_s)
