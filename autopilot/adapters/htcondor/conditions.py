"""When something seen of the node is worth telling: it lasts, or it comes back again and again. Pure; times are the
loop's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from autopilot.machines.cues import Cue, NodeRecovered, NodeTrouble


@dataclass(frozen=True, slots=True)
class Condition:
    """`since`: bad from then on; `told`: said, and not yet taken back."""

    since: float | None = None
    told: bool = False

    def after(self, bad: bool, now: float, patience: float) -> Condition:
        """Bad for `patience` seconds without a break is told; the first good look takes it back."""
        if not bad:
            return Condition()
        since = now if self.since is None else self.since
        return Condition(since, self.told or now - since >= patience)


class Troubles:
    """What the node suffers from now, by kind; reports each beginning and each end once."""

    def __init__(self, report: Callable[[Cue], None]) -> None:
        self._report = report
        self._conditions: dict[str, Condition] = {}
        self.details: dict[str, str] = {}

    def note(self, kind: str, detail: str | None, now: float, *, patience: float = 0.0) -> bool:
        """`detail` says what is wrong and what to do, None that all is well. True when this look began the trouble."""
        before = self._conditions.get(kind, Condition())
        after = self._conditions[kind] = before.after(detail is not None, now, patience)
        if after.told and detail is not None:
            self.details[kind] = detail
        if after.told and not before.told and detail is not None:
            self._report(NodeTrouble(kind, detail))
            return True
        if before.told and not after.told:
            del self.details[kind]
            self._report(NodeRecovered(kind))
        return False

    def on(self, kind: str) -> bool:
        return self._conditions.get(kind, Condition()).told

    def since(self, kind: str) -> float | None:
        return self._conditions.get(kind, Condition()).since


LOOP_STARTS, LOOP_WINDOW, LOOP_CALM = 4, 600.0, 120.0


@dataclass(frozen=True, slots=True)
class Restarts:
    """The startd's starts, told apart by pid. Four in ten minutes are a crash loop, two calm minutes its end."""

    pid: int | None = None
    starts: tuple[float, ...] = ()

    def seen(self, pid: int | None, now: float) -> Restarts:
        recent = tuple(start for start in self.starts if now - start < LOOP_WINDOW)
        if pid is None or pid == self.pid:
            return replace(self, starts=recent)
        return Restarts(pid, (*recent, now))

    def looping(self, now: float) -> bool:
        return len(self.starts) >= LOOP_STARTS and now - self.starts[-1] < LOOP_CALM


@dataclass(frozen=True, slots=True)
class Spacing:
    """Growing gaps between repeats of the same thing: `first`, then twice as long each time, up to `longest`
    seconds."""

    first: float
    longest: float
    tries: int = 0
    due: float = 0.0

    def may(self, now: float) -> bool:
        return now >= self.due

    def done(self, now: float, draw: float) -> Spacing:
        """`draw` in 0..1 spreads the next one by a fifth, so that a whole fleet does not come at once."""
        gap = min(self.first * 2.0 ** min(self.tries, 30), self.longest) * (0.8 + 0.4 * draw)
        return replace(self, tries=self.tries + 1, due=now + gap)

    def reset(self) -> Spacing:
        return replace(self, tries=0, due=0.0)
