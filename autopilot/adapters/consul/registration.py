"""One service in Consul: what we want there, what we know to be there, and the one call that brings them together.

Theory of operation. `wanted` is ours, `seen` is what Consul is known to hold; None means that nobody knows, which is
so after every break. At most one call is out at a time, and its answer decides the next one. Heartbeats are due by the
time of the last one, not by the job's checks: a check may take longer than the TTL. Nothing here waits for Consul:
while the agent cannot be reached (CUT) wishes only change `wanted`, and its return asserts the whole of it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from autopilot.adapters.consul.definition import Definition

HEARTBEATS = 3  # in one TTL: two may be lost
SPACING = 2.0  # s between two updates that change nothing but the check's output
FIRST_RETRY, LAST_RETRY = 0.2, 10.0  # s, after what the agent refuses


class Phase(Enum):
    SETTLED = "settled"  # until the next heartbeat
    CALLING = "calling"
    RESTING = "resting"  # the agent refused; again at the deadline
    CUT = "cut off"  # the agent cannot be reached


class On(Enum):
    WANTED = "wanted"  # the wish has changed
    DONE = "done"
    GONE = "gone"  # the agent does not know the service
    REDEFINED = "redefined"  # somebody else registered our id
    REFUSED = "refused"
    LOST = "lost"
    BACK = "back"
    ELAPSED = "elapsed"


@dataclass(frozen=True, slots=True)
class Wanted:
    definition: Definition
    status: str  # passing, warning, critical
    output: str = ""
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """None in a field: not known."""

    definition: Definition | None
    status: str | None = None
    output: str | None = None
    maintenance: bool | None = None


ABSENT = Seen(None)


@dataclass(frozen=True, slots=True)
class Register:
    definition: Definition
    status: str
    tags: tuple[str, ...] | None = None  # others' tags, which stay


@dataclass(frozen=True, slots=True)
class Update:
    definition: Definition
    status: str
    output: str


@dataclass(frozen=True, slots=True)
class Maintain:
    id: str
    enable: bool


@dataclass(frozen=True, slots=True)
class Deregister:
    id: str


Call = Register | Update | Maintain | Deregister


@dataclass(frozen=True, slots=True)
class Troubled:
    """Consul does not take the service: said once for each streak."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Mended:
    id: str


Effect = Call | Troubled | Mended


@dataclass(frozen=True, slots=True)
class Registration:
    id: str
    phase: Phase = Phase.SETTLED
    deadline: float | None = None
    wanted: Wanted | None = None
    seen: Seen | None = ABSENT
    call: Call | None = None
    told: float = 0.0  # when Consul last heard from us
    failures: int = 0  # refusals in a row
    contested: int = 0  # how often somebody else took our id since the last quiet heartbeat
    tags: tuple[str, ...] | None = None  # as others have set them, where they may
    maintained: bool = False  # we have put it into maintenance at some time

    @property
    def registered(self) -> bool:
        return self.seen is not None and self.seen.definition is not None

    @property
    def over(self) -> bool:
        """Nothing is wanted and nothing is there."""
        return self.wanted is None and self.seen == ABSENT and self.call is None


Step = tuple[Registration, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _Turn:
    state: Registration
    now: float
    wanted: Wanted | None
    why: str
    draw: float


def step(
    state: Registration, on: On, now: float, *, wanted: Wanted | None = None, why: str = "", draw: float = 0.5
) -> Step:
    """The state after `on`. `wanted` comes with WANTED, `why` with REFUSED; `draw` is uniform in [0, 1)."""
    return TABLE[state.phase, on](_Turn(state, now, wanted, why, draw))


def _ignore(t: _Turn) -> Step:
    return t.state, ()


# --- what to do next ---


def _act(t: _Turn, *said: Effect) -> Step:
    """The next call, or rest until the next heartbeat."""
    call = _next_call(t.state, t.now)
    if call is not None:
        return replace(t.state, phase=Phase.CALLING, call=call, deadline=None), (*said, call)
    return replace(t.state, phase=Phase.SETTLED, call=None, deadline=_due(t.state)), said


def _next_call(s: Registration, now: float) -> Call | None:
    wanted, seen = s.wanted, s.seen
    if wanted is None:
        return None if seen == ABSENT else Deregister(s.id)
    if seen is None or seen.definition != wanted.definition:
        status = "critical" if wanted.maintenance else wanted.status  # no moment of traffic before the maintenance
        return Register(wanted.definition, status, s.tags)
    if seen.maintenance is not wanted.maintenance and (wanted.maintenance or s.maintained):
        return Maintain(s.id, wanted.maintenance)
    due = _due(s)
    if seen.status != wanted.status or (due is not None and now >= due):
        return Update(wanted.definition, wanted.status, wanted.output)
    return None


def _due(s: Registration) -> float | None:
    if s.wanted is None or s.seen is None:
        return None
    beat = s.wanted.definition.ttl / HEARTBEATS
    return s.told + (min(beat, SPACING) if s.seen.output != s.wanted.output else beat)


# --- what happens ---


def _want(t: _Turn) -> Step:
    return replace(t.state, wanted=t.wanted, maintained=t.state.maintained or _maintains(t.wanted)), ()


def _want_and_act(t: _Turn) -> Step:
    return _act(replace(t, state=_want(t)[0]))


def _maintains(wanted: Wanted | None) -> bool:
    return wanted is not None and wanted.maintenance


def _done(t: _Turn) -> Step:
    s = t.state
    seen, told = s.seen, s.told
    match s.call:
        case Register(definition):  # what it says of the check is asserted by the update that follows
            seen, told = Seen(definition), t.now
        case Update(_, status, output) if seen is not None:
            seen, told = replace(seen, status=status, output=output), t.now
        case Maintain(_, enable) if seen is not None:
            seen = replace(seen, maintenance=enable)
        case Deregister():
            seen = ABSENT
    quiet = isinstance(s.call, Update) and s.seen is not None and s.seen.status is not None
    contested = 0 if quiet else s.contested
    said = (Mended(s.id),) if s.failures or s.contested > contested else ()
    return _act(replace(t, state=replace(s, seen=seen, told=told, call=None, failures=0, contested=contested)), *said)


def _gone(t: _Turn) -> Step:
    if isinstance(t.state.call, Register | Deregister):
        return t.state, ()  # that call settles it
    return _act(replace(t, state=replace(t.state, seen=ABSENT, call=None)))


def _doubt(t: _Turn) -> Step:
    """What was there is not known to be there any more."""
    seen = replace(t.state.seen, definition=None) if t.state.seen is not None else None
    return replace(t.state, seen=seen), ()


def _refused(t: _Turn) -> Step:
    """Rest longer each time, give or take a half, so that many supervisors do not come back together."""
    failures = t.state.failures + 1
    state = replace(t.state, call=None, failures=failures)
    return _rest(t, state, failures), ((Troubled(t.state.id, t.why),) if failures == 1 else ())


def _rest(t: _Turn, state: Registration, times: int) -> Registration:
    delay = min(FIRST_RETRY * 2 ** (times - 1), LAST_RETRY) * (0.5 + t.draw)
    return replace(state, phase=Phase.RESTING, deadline=t.now + delay)


def _redefined(t: _Turn) -> Step:
    """Ours again, but not in a race: whoever shares our id does the same."""
    contested = t.state.contested + 1
    state = replace(t.state, seen=None, contested=contested)
    why = "somebody else registers the same service id: two containers with one hostname on one agent?"
    return _rest(t, state, contested), ((Troubled(t.state.id, why),) if contested == 3 else ())


def _lost(t: _Turn) -> Step:
    """What was there may be gone; what was not there has not come."""
    seen = t.state.seen if t.state.over else None
    return replace(t.state, phase=Phase.CUT, seen=seen, call=None, deadline=None), ()


def _act_again(t: _Turn) -> Step:
    return _act(t)


Cell = Callable[[_Turn], Step]
P = Phase

TABLE: dict[tuple[Phase, On], Cell] = {
    (P.SETTLED, On.WANTED): _want_and_act,
    (P.SETTLED, On.DONE): _ignore,
    (P.SETTLED, On.GONE): _gone,
    (P.SETTLED, On.REDEFINED): _redefined,
    (P.SETTLED, On.REFUSED): _ignore,
    (P.SETTLED, On.LOST): _lost,
    (P.SETTLED, On.BACK): _ignore,
    (P.SETTLED, On.ELAPSED): _act_again,
    (P.CALLING, On.WANTED): _want,  # the answer of the call that is out comes first
    (P.CALLING, On.DONE): _done,
    (P.CALLING, On.GONE): _gone,
    (P.CALLING, On.REDEFINED): _ignore,  # the sentinel looks again after each registration
    (P.CALLING, On.REFUSED): _refused,
    (P.CALLING, On.LOST): _lost,
    (P.CALLING, On.BACK): _ignore,
    (P.CALLING, On.ELAPSED): _ignore,
    (P.RESTING, On.WANTED): _want,
    (P.RESTING, On.DONE): _ignore,
    (P.RESTING, On.GONE): _doubt,
    (P.RESTING, On.REDEFINED): _doubt,
    (P.RESTING, On.REFUSED): _ignore,
    (P.RESTING, On.LOST): _lost,
    (P.RESTING, On.BACK): _ignore,
    (P.RESTING, On.ELAPSED): _act_again,
    (P.CUT, On.WANTED): _want,
    (P.CUT, On.DONE): _ignore,
    (P.CUT, On.GONE): _ignore,
    (P.CUT, On.REDEFINED): _ignore,
    (P.CUT, On.REFUSED): _ignore,
    (P.CUT, On.LOST): _ignore,
    (P.CUT, On.BACK): _act_again,
    (P.CUT, On.ELAPSED): _ignore,
}
