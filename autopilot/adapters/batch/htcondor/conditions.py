"""When something seen of the node is worth telling: it lasts, or it comes back again and again. Pure; times are the
loop's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue
from autopilot.retry_delay import RetryDelay


@dataclass(frozen=True, slots=True)
class Condition:
    """`since`: bad from then on; `told`: said, and not yet taken back."""

    since: float | None = None
    reported: bool = False

    def update(self, bad: bool, now: float, patience: float) -> Condition:
        """Bad for `patience` seconds without a break is told; the first good look takes it back."""
        if not bad:
            return Condition()
        since = now if self.since is None else self.since
        return Condition(since, self.reported or now - since >= patience)


class Conditions:
    """What the node suffers from now, by kind; reports each beginning and each end once."""

    def __init__(self, report: Callable[[Cue], None]) -> None:
        self._report = report
        self._by_kind: dict[str, Condition] = {}
        self.details: dict[str, str] = {}

    def update(self, kind: str, detail: str | None, now: float, *, patience: float = 0.0) -> bool:
        """`detail` says what is wrong and what to do, None that all is well. True when this look began the trouble."""
        before = self._by_kind.get(kind, Condition())
        after = self._by_kind[kind] = before.update(detail is not None, now, patience)
        if after.reported and detail is not None:
            self.details[kind] = detail
        if after.reported and not before.reported and detail is not None:
            self._report(ConditionDetected(kind, detail))
            return True
        if before.reported and not after.reported:
            del self.details[kind]
            self._report(ConditionResolved(kind))
        return False

    def is_active(self, kind: str) -> bool:
        return self._by_kind.get(kind, Condition()).reported

    def get_start(self, kind: str) -> float | None:
        return self._by_kind.get(kind, Condition()).since


CRASH_LOOP_STARTS, CRASH_LOOP_WINDOW_S, CRASH_LOOP_CALM_S = 4, 600.0, 120.0


@dataclass(frozen=True, slots=True)
class StartdStarts:
    """The startd's starts, told apart by pid. Four in ten minutes are a crash loop, two calm minutes its end."""

    pid: int | None = None
    start_times: tuple[float, ...] = ()

    def record(self, pid: int | None, now: float) -> StartdStarts:
        recent = tuple(start for start in self.start_times if now - start < CRASH_LOOP_WINDOW_S)
        if pid is None or pid == self.pid:
            return replace(self, start_times=recent)
        return StartdStarts(pid, (*recent, now))

    def is_crash_looping(self, now: float) -> bool:
        return len(self.start_times) >= CRASH_LOOP_STARTS and now - self.start_times[-1] < CRASH_LOOP_CALM_S


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing gaps between repeats of the same thing: `first`, then twice as long each time, up to `longest`
    seconds."""

    first_delay: float
    max_delay: float
    tries: int = 0
    due_at: float = 0.0

    def is_due(self, now: float) -> bool:
        return now >= self.due_at

    def record_try(self, now: float, draw: float) -> Backoff:
        """`draw` in 0..1 spreads the next one by a fifth, so that a whole fleet does not come at once."""
        gap = RetryDelay(self.first_delay, self.max_delay, jitter=0.2).compute(self.tries + 1, draw)
        return replace(self, tries=self.tries + 1, due_at=now + gap)

    def reset(self) -> Backoff:
        return replace(self, tries=0, due_at=0.0)
