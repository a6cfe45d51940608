"""Drains any batch system or service: run `begin`, then ask `until` again and again whether all is over (exit 0)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from autopilot.machines.cues import Cue, Drained, NodeRecovered, NodeTrouble
from autopilot.runtime.commands import CommandRunner, Finished
from autopilot.spec.plan import Command, Drain

LIMIT = 60.0  # s for one command
RETRY_FIRST, RETRY_MAX = 1.0, 60.0  # s


class ExecDrain:
    def __init__(
        self,
        plan: Drain,
        *,
        run: CommandRunner,
        report: Callable[[Cue], None],
        background: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._plan = plan
        self._run, self._report, self._background = run, report, background

    def begin_drain(self, reason: str) -> None:
        self._background(self.drain())

    def soften(self) -> None:
        """Payloads are not ours to name here; the grace goes on until the ordered stop."""

    def harden(self) -> None:
        """No more waiting: the ordered stop that follows ends what runs."""
        self._report(Drained())

    async def drain(self) -> None:
        """Reports Drained once nothing runs any more. A failing `begin` is tried again."""
        if self._plan.begin is not None:
            await self._begin(self._plan.begin)
        if self._plan.until is not None:
            while (await self._ask("drain-until", self._plan.until)).status != 0:
                await asyncio.sleep(self._plan.poll)  # the batch system can only be asked
        self._report(Drained())

    async def _begin(self, command: Command) -> None:
        delay, failed = RETRY_FIRST, False
        while (result := await self._ask("drain-begin", command)).status != 0:
            failed = True
            tail = result.output.strip().splitlines()[-1:] or ["no output"]
            self._report(NodeTrouble("drain", f"the drain command failed ({result.status}): {tail[0]}; trying again"))
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MAX)
        if failed:
            self._report(NodeRecovered("drain"))

    async def _ask(self, name: str, command: Command) -> Finished:
        return await self._run.run(command, timeout=LIMIT, name=name)
