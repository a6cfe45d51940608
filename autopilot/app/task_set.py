"""Own all background tasks of one life: none is forgotten, and each failure goes to one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class TaskSet:
    """Background tasks that end with the life.

    An asyncio.TaskGroup would cancel all other tasks at the first failure and wait for them without a limit. The
    supervisor's emergency path must stop the batch system first, so here a failure is reported at once and stops no
    other task, and the wait at the end has a limit.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_failure: Callable[[BaseException], None]) -> None:
        """Create an empty set; `on_failure` is called with the exception of each task that fails."""
        self._loop, self._on_failure = loop, on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in the background and return its task."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._handle_done)
        return task

    async def run_until(self, stop: asyncio.Future[Any], work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, or cancel it when `stop` is done first; exceptions of `work` are raised here."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        either: list[asyncio.Future[Any]] = [task, stop]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        else:
            task.cancel()

    def cancel(self) -> None:
        """Ask all tasks to end, without waiting for them."""
        for task in self._tasks:
            task.cancel()

    async def cancel_and_wait(self, timeout_s: float) -> list[str]:
        """Ask all tasks to end and wait for them.

        Args:
            timeout_s: Limit of the wait.

        Returns:
            Names of the coroutines that had not ended by then.
        """
        self.cancel()
        if not self._tasks:
            return []
        _, pending = await asyncio.wait(self._tasks, timeout=timeout_s)
        return sorted(getattr(task.get_coro(), "__qualname__", repr(task)) for task in pending)

    def _handle_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)
