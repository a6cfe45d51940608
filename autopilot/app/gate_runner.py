"""Run the checks of gates that the core orders, and answer with cues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from autopilot.adapters.logs.logger import Logger
from autopilot.app.guarded_check import guard_check
from autopilot.machines import cues
from autopilot.runtime.command_runner import ProcessCommandRunner
from autopilot.spec.plan import Gate


class GateRunner:
    """Checks of gates that run now, at most one for each gate."""

    def __init__(
        self,
        *,
        commands: ProcessCommandRunner,
        log: Logger,
        feed: Callable[[cues.Cue], None],
        start_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """Wire the runner.

        Args:
            commands: Runs commands of checks.
            log: The log.
            feed: Takes cues for the core.
            start_task: Starts a task whose failure is an internal error.
        """
        self._commands, self._log, self._feed, self._start_task = commands, log, feed, start_task
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, attempt: int, gate: Gate) -> None:
        """Ask a gate; its answer is a cue."""
        self._tasks[name] = self._start_task(self._run(name, attempt, gate))

    def cancel(self, name: str) -> None:
        """Cancel the check of a gate; does nothing when it has ended: its answer comes too late to be stopped."""
        if name in self._tasks:
            self._tasks.pop(name).cancel()

    async def _run(self, name: str, attempt: int, gate: Gate) -> None:
        passed, output = await self._ask(name, gate)
        self._tasks.pop(name, None)
        self._feed(cues.GateAnswered(name, attempt, passed, output))

    async def _ask(self, name: str, gate: Gate) -> tuple[bool, str]:
        """Ask a gate; a defect of its check is a refusal, never the life's end."""
        from autopilot.adapters.checks.gate_question import ask_gate  # loaded by those who use it

        def log_lines(stream: str, lines: list[bytes], raw: bool, pid: int) -> None:
            self._log.log_check_lines(f"check {name}", stream, lines, raw=raw, pid=pid)

        question = ask_gate(gate, self._commands, log_lines)
        return await guard_check(question, gate.probe.kind, self._log, gate=name)
