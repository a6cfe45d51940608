"""Check a job's health with a command: exit code 0 passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.process.exit_status import describe_status
from autopilot.spec.plan import Command, Probe

BATCH_SYSTEM = None
KILL_DELAY_S = 1.0  # s after the check's timeout; the core cancels the check first


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecProbe(Probe):
    """Settings of a check by command."""

    kind: ClassVar[str] = "exec"
    nested_types: ClassVar[Mapping[str, type]] = {"command": Command}

    command: Command
    raw: bool = False  # output without prefixes


PROBE_TYPE = ExecProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of `jobs[].health.exec`."""
    from pydantic import Field

    from autopilot.spec import fields as f

    return f.Argv | None, Field(default=None, description="a command; exit code 0 passes")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> ExecProbe:
    """Return the settings for the plan; the command runs as the job does."""
    return ExecProbe(command=build_command(value), raw=raw)


async def run(probe: ExecProbe, context: CheckContext) -> CheckResult:
    """Run the command once."""

    def log_lines(stream: str, lines: list[bytes], pid: int) -> None:
        context.log_lines(stream, lines, probe.raw, pid)

    result = await context.commands.run(
        probe.command, timeout=context.timeout_s + KILL_DELAY_S, name=f"{context.job}.health", on_lines=log_lines
    )
    return result.status == 0, result.output.strip() or describe_status(result.status)
