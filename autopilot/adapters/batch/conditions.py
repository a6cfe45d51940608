"""Decide when a problem of the node is reported: when it lasts, or when it comes back again and again.

Pure; times are the event loop's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue
from autopilot.retry_delay import RetryDelay


@dataclass(frozen=True, slots=True)
class Condition:
    """Present state of one kind of problem."""

    since: float | None = None  # begin of the problem; None: there is none
    reported: bool = False  # the core knows of it

    def update(self, bad: bool, now: float, patience: float) -> Condition:
        """Return the next state: reported after `patience` seconds, over with the first good observation."""
        if not bad:
            return Condition()
        since = now if self.since is None else self.since
        return Condition(since, self.reported or now - since >= patience)


class Conditions:
    """The node's problems by kind; each begin and each end is reported once."""

    def __init__(self, report: Callable[[Cue], None]) -> None:
        self._report = report
        self._by_kind: dict[str, Condition] = {}
        self.details: dict[str, str] = {}

    def update(self, kind: str, detail: str | None, now: float, *, patience: float = 0.0, is_new: bool = False) -> bool:
        """Take in one observation.

        Args:
            kind: The kind of problem, as `autopilot status` shows it.
            detail: The problem and its remedy in one sentence; None when all is well.
            now: The loop's time.
            patience: Seconds that the problem must last before it is reported.
            is_new: The problem is another one than before, so it is reported again.

        Returns:
            True when this observation made it reported.
        """
        before = self._by_kind.get(kind, Condition())
        after = self._by_kind[kind] = before.update(detail is not None, now, patience)
        if after.reported and detail is not None:
            self.details[kind] = detail
        if after.reported and detail is not None and (is_new or not before.reported):
            self._report(ConditionDetected(kind, detail))
            return True
        if before.reported and not after.reported:
            del self.details[kind]
            self._report(ConditionResolved(kind))
        return False

    def is_active(self, kind: str) -> bool:
        """Return True while this kind of problem is reported."""
        return self._by_kind.get(kind, Condition()).reported

    def get_start(self, kind: str) -> float | None:
        """Return the begin of this kind of problem, on the loop's clock; None without one."""
        return self._by_kind.get(kind, Condition()).since


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing delays between tries: `first_delay`, then twice as long each time, up to `max_delay` seconds."""

    first_delay: float
    max_delay: float
    tries: int = 0
    due_at: float = 0.0

    def is_due(self, now: float) -> bool:
        """Return True when the next try may be made."""
        return now >= self.due_at

    def record_try(self, now: float, draw: float) -> Backoff:
        """Return the state after a try; `draw` in 0..1 spreads the next by a fifth, lest a fleet comes at once."""
        delay = RetryDelay(self.first_delay, self.max_delay, jitter=0.2).compute(self.tries + 1, draw)
        return replace(self, tries=self.tries + 1, due_at=now + delay)

    def reset(self) -> Backoff:
        """Return the state before the first try."""
        return replace(self, tries=0, due_at=0.0)
