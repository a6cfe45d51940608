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

from autopilot.machines import events
from autopilot.machines.actions import Action, KillPayloads, RequestPermit, StartDrain, TerminatePayloads
from autopilot.spec.plan import Lifetime

KILL_TIMEOUT_S = 35.0  # s after the hard stop; a batch system's own fast shutdown may take 30 s


class Phase(Enum):
    NOT_STARTED = "not yet counted"  # waits for `after`
    COUNTING = "counting"
    QUEUED = "over, waits for its turn to drain"
    DRAINING = "draining"
    TERMINATING = "draining, payloads asked to end"
    KILLING = "draining, payloads killed"
    OVER = "over"


DRAIN_PHASES = frozenset({Phase.DRAINING, Phase.TERMINATING, Phase.KILLING})


class Input(Enum):
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
    phase: Phase = Phase.NOT_STARTED
    deadline: float | None = None
    began: float = 0.0  # when it began to count
    draw: float = 0.0  # its one draw
    expires: float | None = None  # when the life is over
    idle_since: float | None = None
    busy: bool = False
    drain_began: float | None = None
    reason: str = ""
    forced: bool = False


Effect = Action | events.Event
Step = tuple[LifetimeState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext:
    plan: Lifetime
    state: LifetimeState
    now: float
    draw: float
    busy: bool
    reason: str
    requested_by: str
    deadline_in: float | None


def step(
    plan: Lifetime,
    state: LifetimeState,
    on: Input,
    now: float,
    *,
    draw: float = 0.0,
    busy: bool = False,
    reason: str = "drain",
    requested_by: str = "",
    deadline_in: float | None = None,
) -> Step:
    """The state after `on`.

    `draw` (uniform in [0, 1)) comes with BEGIN; `busy` with PAYLOADS; `reason`, `who` and `within` (seconds from now to
    the soft stop, None: the plan's) with DRAIN.
    """
    return TABLE[state.phase, on](_StepContext(plan, state, now, draw, busy, reason, requested_by, deadline_in))


def _ignore(t: _StepContext) -> Step:
    return t.state, ()


def _start_counting(t: _StepContext) -> Step:
    life = _compute_length(t.plan, t.draw)
    expires = None if life is None else t.now + life
    idle_since = None if t.state.busy else t.now
    state = replace(t.state, phase=Phase.COUNTING, began=t.now, draw=t.draw, expires=expires, idle_since=idle_since)
    return _set_earliest_deadline(t.plan, state), (events.LifetimeBegun(life),)


def _compute_length(plan: Lifetime, draw: float) -> float | None:
    return None if plan.max is None else plan.max + plan.jitter * draw


def _apply_new_plan(t: _StepContext) -> Step:
    """The same draw of the new length, from the same beginning."""
    life = _compute_length(t.plan, t.state.draw)
    expires = None if life is None else max(t.now, t.state.began + life)
    moved = _set_earliest_deadline(t.plan, replace(t.state, expires=expires))
    if moved.deadline is not None:
        moved = replace(moved, deadline=max(t.now, moved.deadline))
    if expires == t.state.expires:
        return moved, ()
    return moved, (events.LifetimeChanged(None if expires is None else expires - t.now),)


def _set_earliest_deadline(plan: Lifetime, state: LifetimeState) -> LifetimeState:
    ends = [state.expires] if state.expires is not None else []
    if plan.idle is not None and state.idle_since is not None:
        ends.append(state.idle_since + plan.idle)
    return replace(state, deadline=min(ends, default=None))


def _record_payloads(t: _StepContext) -> Step:
    return replace(t.state, busy=t.busy), ()


def _update_idle_time(t: _StepContext) -> Step:
    idle_since = None if t.busy else (t.now if t.state.idle_since is None else t.state.idle_since)
    return _set_earliest_deadline(t.plan, replace(t.state, busy=t.busy, idle_since=idle_since)), ()


def _expire(t: _StepContext) -> Step:
    expired = t.state.expires is not None and t.now >= t.state.expires
    reason = "lifetime" if expired else "idle"
    if t.plan.queue and t.state.phase is Phase.COUNTING:
        return replace(t.state, phase=Phase.QUEUED, deadline=None), (events.LifetimeQueued(), RequestPermit())
    return _start_drain(
        replace(t, reason=reason, requested_by="its lifetime is over" if expired else "nothing has run for long enough")
    )


def _start_drain(t: _StepContext) -> Step:
    within = t.plan.deadline if t.deadline_in is None else t.deadline_in
    deadline = None if within is None else t.now + within
    state = replace(t.state, phase=Phase.DRAINING, deadline=deadline, drain_began=t.now, reason=t.reason)
    return state, (events.DrainBegun(t.reason, t.requested_by, within), StartDrain(t.reason))


def _change_deadline(t: _StepContext) -> Step:
    """Asked again while draining: a new deadline counts, nothing else is new."""
    if t.deadline_in is None:
        return _ignore(t)
    return replace(t.state, deadline=t.now + t.deadline_in), (
        events.DrainDeadlineChanged(t.requested_by, t.deadline_in),
    )


def _terminate_payloads(t: _StepContext) -> Step:
    state = replace(t.state, phase=Phase.TERMINATING, deadline=t.now + t.plan.grace, forced=True)
    return state, (events.DrainDeadlineReached(t.plan.grace), TerminatePayloads())


def _kill_payloads(t: _StepContext) -> Step:
    state = replace(t.state, phase=Phase.KILLING, deadline=t.now + KILL_TIMEOUT_S)
    return state, (events.DrainGraceExpired(), KillPayloads())


def _complete_drain(t: _StepContext) -> Step:
    state = replace(t.state, phase=Phase.OVER, deadline=None)
    return state, (events.DrainCompleted(t.state.forced),)


def _complete_external_drain(t: _StepContext) -> Step:
    """Somebody emptied the node past us (by hand, or as a job of the batch system): this life is over too."""
    return _complete_drain(replace(t, state=replace(t.state, reason="drain")))


def _end(t: _StepContext) -> Step:
    return replace(t.state, phase=Phase.OVER, deadline=None), ()


Cell = Callable[[_StepContext], Step]


def _build_row(phase: Phase, **cells: Cell) -> dict[tuple[Phase, Input], Cell]:
    return {(phase, on): cells.get(on.name.lower(), _ignore) for on in Input}


TABLE: dict[tuple[Phase, Input], Cell] = {
    **_build_row(
        Phase.NOT_STARTED,
        begin=_start_counting,
        payloads=_record_payloads,
        drain=_start_drain,
        drained=_complete_external_drain,
        stop=_end,
    ),
    **_build_row(
        Phase.COUNTING,
        elapsed=_expire,
        payloads=_update_idle_time,
        replanned=_apply_new_plan,
        drain=_start_drain,
        drained=_complete_external_drain,
        stop=_end,
    ),
    **_build_row(
        Phase.QUEUED,
        permitted=_expire,
        payloads=_record_payloads,
        drain=_start_drain,
        drained=_complete_external_drain,
        stop=_end,
    ),
    **_build_row(
        Phase.DRAINING, elapsed=_terminate_payloads, drain=_change_deadline, drained=_complete_drain, stop=_end
    ),
    **_build_row(Phase.TERMINATING, elapsed=_kill_payloads, drained=_complete_drain, stop=_end),
    **_build_row(Phase.KILLING, elapsed=_complete_drain, drained=_complete_drain, stop=_end),
    **_build_row(Phase.OVER),
}
