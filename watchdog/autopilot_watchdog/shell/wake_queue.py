"""Wait for the next reason for a pass."""

from __future__ import annotations

import queue
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
        self._reasons: queue.SimpleQueue[WakeReason] = queue.SimpleQueue()

    def put(self, reason: WakeReason) -> None:
        """Add a reason."""
        self._reasons.put(reason)

    def wait(self, seconds: float) -> set[WakeReason]:
        """Wait for a reason at most so many seconds; return it with those that came together, none after the time."""
        reasons: set[WakeReason] = set()
        try:
            reasons.add(self._reasons.get(timeout=max(0.0, seconds)))
            while True:
                reasons.add(self._reasons.get_nowait())
        except queue.Empty:
            return reasons
