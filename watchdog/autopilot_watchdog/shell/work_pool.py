"""Run slow work in threads beside the passes, and hand its results to the thread of the passes.

The work itself touches neither the memory nor the state file: its result is data, and only the thread of the passes
uses it. The threads do not keep the process alive, so a watchdog that must end does not wait for a pull.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class FinishedWork(Generic[Key, Result]):
    """Piece of work that has ended."""

    key: Key
    result: Result
    seconds: float  # its duration
    ended: float  # epoch seconds


class WorkPool(Generic[Key, Result]):
    """Pool of threads, one for each piece of work; a key has at most one piece at a time, so the keys bound them."""

    def __init__(self, name: str, on_finish: Callable[[], None]) -> None:
        """Create a pool without work.

        Args:
            name: The beginning of the threads' names.
            on_finish: Called in the work's thread after each piece of work, to wake the thread of the passes.
        """
        self._name = name
        self._on_finish = on_finish
        self._changed = threading.Condition()
        self._running: set[Key] = set()
        self._finished: list[FinishedWork[Key, Result]] = []
        self._errors: list[BaseException] = []

    @property
    def pending_keys(self) -> frozenset[Key]:
        """Keys of the work that runs, or has ended and was not taken yet."""
        with self._changed:
            return frozenset(self._running | {work.key for work in self._finished})

    @property
    def has_ended_work(self) -> bool:
        """True if work has ended and was not taken yet."""
        with self._changed:
            return bool(self._finished or self._errors)

    def start(self, key: Key, function: Callable[[], Result]) -> None:
        """Begin a piece of work; do nothing if this key has one."""
        with self._changed:
            if key in self._running or any(work.key == key for work in self._finished):
                return
            self._running.add(key)
        threading.Thread(target=self._work, args=(key, function), daemon=True, name=f"{self._name} {key}").start()

    def _work(self, key: Key, function: Callable[[], Result]) -> None:
        begin = time.monotonic()
        try:
            result = function()
        except BaseException as error:  # a mistake of ours: the thread of the passes raises it
            with self._changed:
                self._running.discard(key)
                self._errors.append(error)
                self._changed.notify_all()
        else:
            with self._changed:
                self._running.discard(key)
                self._finished.append(FinishedWork(key, result, time.monotonic() - begin, time.time()))
                self._changed.notify_all()
        self._on_finish()

    def take_finished(self) -> list[FinishedWork[Key, Result]]:
        """Return the work that has ended since the last call, in that order; raise the error of work that broke."""
        with self._changed:
            if self._errors:
                raise self._errors.pop(0)
            finished, self._finished = self._finished, []
            return finished

    def wait(self, keys: Collection[Key], timeout: float) -> None:
        """Wait until the work of all these keys has ended, at most so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running.intersection(keys), timeout)
