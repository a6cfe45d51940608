"""Drain any batch system or service by commands.

`begin` is run once; then `until` is run again and again until it exits 0. All else is up to the batch system beside it,
if the plan has one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from autopilot.adapters.batch.batch_system import BatchSystem, SupervisorServices
from autopilot.bounded_text import clip_text
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Drained, Evicted
from autopilot.retry_delay import RetryDelay
from autopilot.runtime.command_runner import CommandResult
from autopilot.spec.plan import Command, Drain

COMMAND_TIMEOUT_S = 60.0
RETRY_DELAY = RetryDelay(first_s=1.0, max_s=60.0, jitter=0.0)


class CommandDrain:
    """A batch system that is drained by the commands of the job spec (`lifetime.drain: {exec, until}`)."""

    def __init__(self, drain: Drain, services: SupervisorServices, inner: BatchSystem | None) -> None:
        """Wrap a batch system.

        Args:
            drain: The commands.
            services: Parts of the supervisor.
            inner: The batch system that does everything but the drain; None when the plan has none.
        """
        self._drain = drain
        self._services = services
        self._inner = inner

    # --- the drain ---

    def begin_drain(self, reason: str) -> None:
        """Start the drain in the background."""
        self._services.start_task(self.drain())

    def soft_stop(self) -> None:
        """Ask the payloads of the batch system beside it to end; without one, the core asks the jobs that work."""
        if self._inner is not None:
            self._inner.soft_stop()

    def hard_stop(self) -> None:
        """Kill the payloads of the batch system beside it, and report Drained: nothing more is waited for."""
        if self._inner is not None:
            self._inner.hard_stop()
        self._services.report(Drained())

    async def drain(self) -> None:
        """Run `begin`, again when it fails, then `until` until it exits 0; report Drained."""
        if self._drain.begin is not None:
            await self._run_begin_command(self._drain.begin)
        if self._drain.until is not None:
            while (await self._run_command("drain-until", self._drain.until)).status != 0:
                await asyncio.sleep(self._drain.poll)  # the batch system can only be asked
        self._services.report(Drained())

    async def _run_begin_command(self, command: Command) -> None:
        failures = 0
        while (result := await self._run_command("drain-begin", command)).status != 0:
            failures += 1
            tail = result.output.strip().splitlines()[-1:] or ["no output"]
            detail = f"the drain command failed ({result.status}): {clip_text(tail[0])}; trying again"
            self._services.report(ConditionDetected("drain", detail))
            await asyncio.sleep(RETRY_DELAY.compute(failures, 0.5))
        if failures:
            self._services.report(ConditionResolved("drain"))

    async def _run_command(self, name: str, command: Command) -> CommandResult:
        return await self._services.command_runner.run(command, timeout=COMMAND_TIMEOUT_S, name=name)

    # --- the batch system beside it ---

    def get_payload_pids(self) -> Mapping[str, int]:
        """Return those of the batch system beside it, if any."""
        return self._inner.get_payload_pids() if self._inner else {}

    def read_payload_id(self, pid: int) -> str | None:
        """Return that of the batch system beside it, if any."""
        return self._inner.read_payload_id(pid) if self._inner else None

    @property
    def own_pid_variables(self) -> tuple[str, ...]:
        """Environment variables of the main process that are to hold its own pid."""
        return self._inner.own_pid_variables if self._inner is not None else ()

    async def prepare(self) -> list[str]:
        """Make the node ready for the main process; returns one line for each problem."""
        return await self._inner.prepare() if self._inner is not None else []

    async def monitor(self) -> None:
        """Watch the node."""
        if self._inner is not None:
            await self._inner.monitor()

    def build_environment(self) -> Mapping[str, str]:
        """Return variables for the main process, over all others."""
        return self._inner.build_environment() if self._inner is not None else {}

    def build_arguments(self) -> tuple[str, ...]:
        """Return arguments for the main process, after those of its command."""
        return self._inner.build_arguments() if self._inner is not None else ()

    def on_starting(self) -> None:
        """Clear the way for the main process."""
        if self._inner is not None:
            self._inner.on_starting()

    def on_started(self, pid: int) -> None:
        """Take note of the main process."""
        if self._inner is not None:
            self._inner.on_started(pid)

    def on_exited(self) -> None:
        """Take note that the main process has ended."""
        if self._inner is not None:
            self._inner.on_exited()

    async def check(self, aspect: str, timeout_s: float) -> tuple[bool, str]:
        """Check one aspect of the node, for a health check."""
        if self._inner is None:
            return False, "this container has no batch system that could be asked"
        return await self._inner.check(aspect, timeout_s)

    def get_status(self) -> Mapping[str, object]:
        """Return the section of `autopilot status`."""
        return self._inner.get_status() if self._inner is not None else {}

    def evict(self) -> None:
        """Give payloads back to their queue; without a batch system there are none."""
        if self._inner is not None:
            self._inner.evict()
        else:
            self._services.report(Evicted())

    def last_resort(self) -> None:
        """Give payloads back to their queue, without an event loop."""
        if self._inner is not None:
            self._inner.last_resort()
