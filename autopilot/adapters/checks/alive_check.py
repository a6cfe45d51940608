"""Take a job for healthy while it runs: the check of a `health` section that names none, which only sends heartbeats.

ContainerPilot has such sections: they give the interval and the TTL of a service that nothing checks. No key of the job
spec names this kind, so it is not among `CHECK_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.spec.plan import Command, Probe

BATCH_SYSTEM = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AliveProbe(Probe):
    """A check without settings."""

    kind: ClassVar[str] = "alive"


PROBE_TYPE = AliveProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of a key that nothing may write."""
    from pydantic import Field

    return None, Field(default=None)


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> AliveProbe:
    """Return the settings for the plan."""
    return AliveProbe()


async def run(probe: AliveProbe, context: CheckContext) -> CheckResult:
    """Pass: a check runs only while the job does."""
    return True, "running, not checked"
