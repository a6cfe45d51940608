"""Run the health checks that the core orders, and answer with cues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from autopilot.adapters.logs.logger import Logger
from autopilot.app.guarded_check import guard_check
from autopilot.machines import cues
from autopilot.runtime.command_runner import ProcessCommandRunner
from autopilot.spec.extensions import load_check_kind
from autopilot.spec.plan import Health

if TYPE_CHECKING:
    from autopilot.adapters.batch.batch_system import BatchSystem
    from autopilot.adapters.checks.check_context import CheckContext


class CheckRunner:
    """Checks that run now, at most one for each job.

    Attributes:
        batch_system: The batch system, for checks that ask it; None before the node is prepared.
    """

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
        self.batch_system: BatchSystem | None = None

    def start(self, job: str, run: int, health: Health) -> None:
        """Start the check of a run; its result is a cue."""
        self._tasks[job] = self._start_task(self._run(job, run, health))

    def cancel(self, job: str) -> None:
        """Cancel the check of a job; does nothing when it has ended: its answer comes too late to be stopped."""
        if job in self._tasks:
            self._tasks.pop(job).cancel()

    async def _run(self, name: str, run: int, health: Health) -> None:
        passed, output = await self._evaluate_probe(name, health)
        self._tasks.pop(name, None)
        self._feed(cues.CheckFinished(name, run, passed, output))

    async def _evaluate_probe(self, name: str, health: Health) -> tuple[bool, str]:
        """Run a check of any kind. A check only observes, so its own failure is a failed check, never the life's end.

        The core's deadline cancels a check that takes too long.
        """
        from autopilot.adapters.checks import check_context  # loaded by those who use it

        def log_lines(stream: str, lines: list[bytes], raw: bool, pid: int) -> None:
            self._log.log_check_lines(name, stream, lines, raw=raw, pid=pid)

        context = check_context.CheckContext(
            job=name,
            timeout_s=health.timeout,
            commands=self._commands,
            log_lines=log_lines,
            batch_system=self.batch_system,
        )
        return await guard_check(self._run_probe(health, context), health.probe.kind, self._log, job=name)

    @staticmethod
    async def _run_probe(health: Health, context: CheckContext) -> tuple[bool, str]:
        """Run a check by its kind, which is loaded for it."""
        return await load_check_kind(health.probe.kind).run(health.probe, context)
