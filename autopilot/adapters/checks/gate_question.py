"""Ask one gate once, for the supervisor and for `autopilot check --gates`."""

from __future__ import annotations

import asyncio

from autopilot.adapters.checks.check_context import CheckContext, CheckResult, LogLines
from autopilot.runtime.command_runner import ProcessCommandRunner
from autopilot.spec.extensions import load_check_kind
from autopilot.spec.plan import Gate


async def ask_gate(gate: Gate, commands: ProcessCommandRunner, log_lines: LogLines) -> CheckResult:
    """Run the check of a gate once, within its time limit.

    Args:
        gate: The gate.
        commands: Runs commands of the check.
        log_lines: Writes the output of a command to the log.
    """
    context = CheckContext(
        job=f"check {gate.name}",
        timeout_s=gate.attempt_timeout,
        commands=commands,
        log_lines=log_lines,
        batch_system=None,
    )
    try:
        async with asyncio.timeout(gate.attempt_timeout):
            return await load_check_kind(gate.probe.kind).run(gate.probe, context)
    except TimeoutError:
        return False, f"no answer within {gate.attempt_timeout:g} s"
