"""Wait for the next reason for a pass."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from enum import StrEnum


class WakeReason(StrEnum):
    """Reason for a pass before its time."""

    ENGINE = "engine"  # a container ended, or an engine can be reached again
    WORK = "work"  # work beside the passes has ended
    ORDER = "order"  # an operator gave an order
    CONFIG = "config"  # the configuration's file has changed


class WakeQueue:
    """Queue of reasons for a pass; any thread may add one."""

    def __init__(self) -> None:
        self._reasons: queue.SimpleQueue[tuple[WakeReason, float]] = queue.SimpleQueue()

    def put(self, reason: WakeReason) -> None:
        """Add a reason."""
        self._reasons.put((reason, time.monotonic()))

    def wait(
        self, seconds: float, is_news: Callable[[WakeReason, float], bool] = lambda reason, at: True
    ) -> set[WakeReason]:
        """Wait for a reason at most so many seconds; return it with those that came together, none after the time.

        Args:
            seconds: The limit.
            is_news: Tells whether a pass can learn something from a reason that was added at a moment of the monotonic
                clock. A reason that is no news is dropped.
        """
        reasons: set[WakeReason] = set()
        end = time.monotonic() + seconds
        while not reasons:
            try:
                found = [self._reasons.get(timeout=max(0.0, end - time.monotonic()))]
            except queue.Empty:
                break
            while not self._reasons.empty():  # nobody else takes reasons
                found.append(self._reasons.get())
            reasons = {reason for reason, at in found if is_news(reason, at)}
        return reasons
