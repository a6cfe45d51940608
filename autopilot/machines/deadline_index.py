"""Find the earliest of many deadlines without looking at all of them after each change."""

from __future__ import annotations

import heapq
import math

MAX_OUTDATED = 64  # entries of the heap, beside as many as there are deadlines


class DeadlineIndex:
    """Deadlines by name, in a heap whose outdated entries go when they reach its top, or when it is too long."""

    def __init__(self) -> None:
        self._deadlines: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, name: str, deadline: float) -> None:
        """Note the deadline of a name, in place of its former one.

        Args:
            name: The owner of the deadline.
            deadline: Seconds on the core's clock; infinite for none.
        """
        if self._deadlines.get(name, math.inf) == deadline:
            return
        if deadline == math.inf:
            del self._deadlines[name]
        else:
            self._deadlines[name] = deadline
            heapq.heappush(self._heap, (deadline, name))
            if len(self._heap) > 2 * len(self._deadlines) + MAX_OUTDATED:
                self._heap = [(moment, owner) for owner, moment in self._deadlines.items()]
                heapq.heapify(self._heap)

    def find_first(self) -> float:
        """Return the earliest deadline, in seconds on the core's clock; infinite when there is none."""
        while self._heap:
            deadline, name = self._heap[0]
            if self._deadlines.get(name) == deadline:
                return deadline
            heapq.heappop(self._heap)
        return math.inf

    def list_due(self, now: float) -> list[str]:
        """Return the names whose deadline has come; each stays due until it has another deadline."""
        due: dict[str, float] = {}
        while self.find_first() <= now:
            deadline, name = heapq.heappop(self._heap)
            due[name] = deadline
        for name, deadline in due.items():
            heapq.heappush(self._heap, (deadline, name))
        return list(due)
