"""Hold the permits of the jobs that limit themselves across hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.machines import cues
from autopilot.spec.plan import Lock

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient

RELEASE_TIMEOUT_S = 1.0


class Permits:
    """The permits of this process by holder: a job, or the drain at the end of the lifetime."""

    def __init__(
        self,
        locks: Iterable[Lock],
        *,
        get_client: Callable[[], Awaitable[ConsulClient]],
        conditions: ConditionReporter,
        report: Callable[[cues.Cue], None],
        start_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """Prepare; `get_client` waits until the client is loaded."""
        self._lock_by_holder = {lock.holder: lock for lock in locks}
        self._get_client, self._start_task = get_client, start_task
        self._conditions, self._report = conditions, report
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def request(self, holder: str, on_granted: Callable[[bool], None]) -> None:
        """Contend for the permit of a holder; `on_granted` is called once, with False if granted without Consul."""
        self._tasks[holder] = self._start_task(self._hold(self._lock_by_holder[holder], on_granted))

    async def _hold(self, lock: Lock, on_granted: Callable[[bool], None]) -> None:
        """Hold a permit until this task is cancelled."""
        client = await self._get_client()
        from autopilot.adapters.consul.semaphore import Permit

        def handle_held() -> None:
            self._conditions.clear_condition(_build_condition_kind(lock))

        permit = Permit(
            lock, client, on_granted=on_granted, on_held=handle_held, on_lost=partial(self._report_loss, lock)
        )
        try:
            await permit.hold()
        finally:
            handle_held()  # without a holder there is no loss
            await permit.release(RELEASE_TIMEOUT_S)

    def _report_loss(self, lock: Lock, reason: str) -> None:
        """Raise a condition at once, and stop the job if the plan says so."""
        holder = f"job {lock.holder}" if lock.holder else "the lifetime's end"
        if lock.stop_on_loss:
            consequence = "it is stopped, and starts again when it has the lock"
        else:
            consequence = "it goes on, and another host may have the lock at the same time"
        message = f"{holder} has lost its lock {lock.name}: {reason}; {consequence}"
        self._conditions.raise_condition(_build_condition_kind(lock), message)
        if lock.stop_on_loss:
            self._report(cues.PermitLost(lock.holder))

    def release(self, holder: str) -> None:
        """Begin to release the permit of a holder, if it has or requests one."""
        task = self._tasks.pop(holder, None)
        if task is not None:
            task.cancel()

    async def release_all(self) -> None:
        """Release all permits and wait for it, RELEASE_TIMEOUT_S at most."""
        tasks = list(self._tasks.values())
        for holder in tuple(self._tasks):
            self.release(holder)
        if tasks:
            await asyncio.wait(tasks, timeout=RELEASE_TIMEOUT_S)


def _build_condition_kind(lock: Lock) -> str:
    return f"lock-{lock.name}"
