"""The life of the container: when it is over, and how the node is emptied before it ends.

Theory of operation. One draw decides the length of a life (redrawn at every tick, a variance of 30 s would become a
mean of 6 s). However a life's end comes about (expiry, idleness, `autopilot drain`, SIGTERM, a failed check), it is
one path: DRAINING lets payloads finish; only where a deadline is given are they asked to end (SOFTENED) and then
killed (HARDENED).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from autopilot.machines import facts
from autopilot.machines.actions import Action, AskPermit, BeginDrain, HardenDrain, SoftenDrain
from autopilot.spec.plan import Lifetime

LAST_RESORT = 35.0  # s after the hard stop; HTCondor's SHUTDOWN_FAST_TIMEOUT of our configuration is 30 s


class Phase(Enum):
    ASLEEP = "not yet counted"  # waits for `after`
    COUNTING = "counting"
    QUEUED = "over, waits for its turn to drain"
    DRAINING = "draining"
    SOFTENED = "draining, payloads asked to end"
    HARDENED = "draining, payloads killed"
    OVER = "over"


DRAINS = frozenset({Phase.DRAINING, Phase.SOFTENED, Phase.HARDENED})


class On(Enum):
    BEGIN = "begin"  # `after` has happened
    ELAPSED = "elapsed"
    PAYLOADS = "payloads"
    PERMITTED = "permitted"  # it is this container's turn
    DRAIN = "drain"  # somebody asks
    DRAINED = "drained"
    REPLANNED = "replanned"  # the plan is another one
    STOP = "stop"  # the supervisor stops without a drain


@dataclass(frozen=True, slots=True)
class LifetimeState:
    phase: Phase = Phase.ASLEEP
    deadline: float | None = None
    began: float = 0.0  # when it began to count
    draw: float = 0.0  # its one draw
    expires: float | None = None  # when the life is over
    idle_since: float | None = None
    busy: bool = False
    drain_began: float | None = None
    reason: str = ""
    forced: bool = False


Effect = Action | facts.Fact
Step = tuple[LifetimeState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _Turn:
    plan: Lifetime
    state: LifetimeState
    now: float
    draw: float
    busy: bool
    reason: str
    who: str
    within: float | None


def step(
    plan: Lifetime,
    state: LifetimeState,
    on: On,
    now: float,
    *,
    draw: float = 0.0,
    busy: bool = False,
    reason: str = "drain",
    who: str = "",
    within: float | None = None,
) -> Step:
    """The state after `on`.

    `draw` (uniform in [0, 1)) comes with BEGIN; `busy` with PAYLOADS; `reason`, `who` and `within` (seconds from now to
    the soft stop, None: the plan's) with DRAIN.
    """
    return TABLE[state.phase, on](_Turn(plan, state, now, draw, busy, reason, who, within))


def _ignore(t: _Turn) -> Step:
    return t.state, ()


def _begin(t: _Turn) -> Step:
    life = _length(t.plan, t.draw)
    expires = None if life is None else t.now + life
    idle_since = None if t.state.busy else t.now
    state = replace(t.state, phase=Phase.COUNTING, began=t.now, draw=t.draw, expires=expires, idle_since=idle_since)
    return _earliest(t.plan, state), (facts.LifetimeBegun(life),)


def _length(plan: Lifetime, draw: float) -> float | None:
    return None if plan.max is None else plan.max + plan.jitter * draw


def _replan(t: _Turn) -> Step:
    """The same draw of the new length, from the same beginning."""
    life = _length(t.plan, t.state.draw)
    expires = None if life is None else max(t.now, t.state.began + life)
    moved = _earliest(t.plan, replace(t.state, expires=expires))
    if moved.deadline is not None:
        moved = replace(moved, deadline=max(t.now, moved.deadline))
    if expires == t.state.expires:
        return moved, ()
    return moved, (facts.LifetimeMoved(None if expires is None else expires - t.now),)


def _earliest(plan: Lifetime, state: LifetimeState) -> LifetimeState:
    ends = [state.expires] if state.expires is not None else []
    if plan.idle is not None and state.idle_since is not None:
        ends.append(state.idle_since + plan.idle)
    return replace(state, deadline=min(ends, default=None))


def _note_payloads(t: _Turn) -> Step:
    return replace(t.state, busy=t.busy), ()


def _count_payloads(t: _Turn) -> Step:
    idle_since = None if t.busy else (t.now if t.state.idle_since is None else t.state.idle_since)
    return _earliest(t.plan, replace(t.state, busy=t.busy, idle_since=idle_since)), ()


def _expire(t: _Turn) -> Step:
    expired = t.state.expires is not None and t.now >= t.state.expires
    reason = "lifetime" if expired else "idle"
    if t.plan.queue and t.state.phase is Phase.COUNTING:
        return replace(t.state, phase=Phase.QUEUED, deadline=None), (facts.LifetimeQueued(), AskPermit())
    return _drain(
        replace(t, reason=reason, who="its lifetime is over" if expired else "nothing has run for long enough")
    )


def _drain(t: _Turn) -> Step:
    within = t.plan.deadline if t.within is None else t.within
    deadline = None if within is None else t.now + within
    state = replace(t.state, phase=Phase.DRAINING, deadline=deadline, drain_began=t.now, reason=t.reason)
    return state, (facts.DrainBegun(t.reason, t.who, within), BeginDrain(t.reason))


def _move_deadline(t: _Turn) -> Step:
    """Asked again while draining: a new deadline counts, nothing else is new."""
    if t.within is None:
        return _ignore(t)
    return replace(t.state, deadline=t.now + t.within), (facts.DeadlineMoved(t.who, t.within),)


def _soften(t: _Turn) -> Step:
    state = replace(t.state, phase=Phase.SOFTENED, deadline=t.now + t.plan.grace, forced=True)
    return state, (facts.DrainSoftened(t.plan.grace), SoftenDrain())


def _harden(t: _Turn) -> Step:
    state = replace(t.state, phase=Phase.HARDENED, deadline=t.now + LAST_RESORT)
    return state, (facts.DrainHardened(), HardenDrain())


def _drained(t: _Turn) -> Step:
    state = replace(t.state, phase=Phase.OVER, deadline=None)
    return state, (facts.DrainCompleted(t.state.forced),)


def _drained_by_others(t: _Turn) -> Step:
    """Somebody emptied the node past us (`condor_off -peaceful`, by hand or as a job): this life is over too."""
    return _drained(replace(t, state=replace(t.state, reason="drain")))


def _over(t: _Turn) -> Step:
    return replace(t.state, phase=Phase.OVER, deadline=None), ()


Cell = Callable[[_Turn], Step]


def _row(phase: Phase, **cells: Cell) -> dict[tuple[Phase, On], Cell]:
    return {(phase, on): cells.get(on.name.lower(), _ignore) for on in On}


TABLE: dict[tuple[Phase, On], Cell] = {
    **_row(Phase.ASLEEP, begin=_begin, payloads=_note_payloads, drain=_drain, drained=_drained_by_others, stop=_over),
    **_row(
        Phase.COUNTING,
        elapsed=_expire,
        payloads=_count_payloads,
        replanned=_replan,
        drain=_drain,
        drained=_drained_by_others,
        stop=_over,
    ),
    **_row(
        Phase.QUEUED,
        permitted=_expire,
        payloads=_note_payloads,
        drain=_drain,
        drained=_drained_by_others,
        stop=_over,
    ),
    **_row(Phase.DRAINING, elapsed=_soften, drain=_move_deadline, drained=_drained, stop=_over),
    **_row(Phase.SOFTENED, elapsed=_harden, drained=_drained, stop=_over),
    **_row(Phase.HARDENED, elapsed=_drained, drained=_drained, stop=_over),
    **_row(Phase.OVER),
}
