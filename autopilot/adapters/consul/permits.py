"""Hold the permits of the jobs that limit themselves across hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

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
        start_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """Prepare; `get_client` waits until the client is loaded."""
        self._lock_by_holder = {lock.holder: lock for lock in locks}
        self._get_client, self._start_task = get_client, start_task
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def request(self, holder: str, on_granted: Callable[[bool], None]) -> None:
        """Contend for the permit of a holder; `on_granted` is called once, with False if granted without Consul."""
        self._tasks[holder] = self._start_task(self._hold(self._lock_by_holder[holder], on_granted))

    async def _hold(self, lock: Lock, on_granted: Callable[[bool], None]) -> None:
        """Hold a permit until this task is cancelled."""
        client = await self._get_client()
        from autopilot.adapters.consul.semaphore import Permit

        permit = Permit(lock, client, on_granted=on_granted)
        try:
            await permit.hold()
        finally:
            await permit.release(RELEASE_TIMEOUT_S)

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
