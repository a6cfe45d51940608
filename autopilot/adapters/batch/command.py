"""Drains any batch system or service: run `begin`, then ask `until` again and again whether all is over (exit 0)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue, Drained
from autopilot.retry_delay import RetryDelay
from autopilot.runtime.command_runner import CommandResult, CommandRunner
from autopilot.spec.plan import Command, Drain

COMMAND_TIMEOUT_S = 60.0  # s for one command
RETRY_DELAY = RetryDelay(first_s=1.0, max_s=60.0, jitter=0.0)


class CommandDrain:
    def __init__(
        self,
        plan: Drain,
        *,
        command_runner: CommandRunner,
        report: Callable[[Cue], None],
        start_task: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._plan = plan
        self._command_runner, self._report, self._start_task = command_runner, report, start_task

    def begin_drain(self, reason: str) -> None:
        self._start_task(self.drain())

    def terminate_payloads(self) -> None:
        """Payloads are not ours to name here; the grace goes on until the ordered stop."""

    def kill_payloads(self) -> None:
        """No more waiting: the ordered stop that follows ends what runs."""
        self._report(Drained())

    async def drain(self) -> None:
        """Reports Drained once nothing runs any more. A failing `begin` is tried again."""
        if self._plan.begin is not None:
            await self._run_begin_command(self._plan.begin)
        if self._plan.until is not None:
            while (await self._run_command("drain-until", self._plan.until)).status != 0:
                await asyncio.sleep(self._plan.poll)  # the batch system can only be asked
        self._report(Drained())

    async def _run_begin_command(self, command: Command) -> None:
        failures = 0
        while (result := await self._run_command("drain-begin", command)).status != 0:
            failures += 1
            tail = result.output.strip().splitlines()[-1:] or ["no output"]
            self._report(
                ConditionDetected("drain", f"the drain command failed ({result.status}): {tail[0]}; trying again")
            )
            await asyncio.sleep(RETRY_DELAY.compute(failures, 0.5))
        if failures:
            self._report(ConditionResolved("drain"))

    async def _run_command(self, name: str, command: Command) -> CommandResult:
        return await self._command_runner.run(command, timeout=COMMAND_TIMEOUT_S, name=name)
