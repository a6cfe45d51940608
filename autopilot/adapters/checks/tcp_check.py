"""Check a job's health with a TCP connection: one that is accepted passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.spec.plan import Command, Probe

BATCH_SYSTEM = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpProbe(Probe):
    """Settings of a check by TCP connection."""

    kind: ClassVar[str] = "tcp"

    host: str
    port: int


PROBE_TYPE = TcpProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of `jobs[].health.tcp`."""
    from pydantic import Field

    from autopilot.spec import fields as f

    return f.HostPort | None, Field(default=None, description="host:port that must accept a connection")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> TcpProbe:
    """Return the settings for the plan."""
    host, port = value
    return TcpProbe(host=host, port=port)


async def run(probe: TcpProbe, context: CheckContext) -> CheckResult:
    """Connect once and hang up."""
    import asyncio  # not where a plan is only read

    try:
        _, writer = await asyncio.open_connection(probe.host, probe.port)
    except (OSError, ValueError) as error:  # a malformed host name raises ValueError
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        return False, f"cannot connect to {probe.host}:{probe.port}: {reason}"
    writer.close()
    return True, f"{probe.host}:{probe.port} accepts connections"
