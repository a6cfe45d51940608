"""Decide when the life of the container is over, and drain the node before it ends.

Theory of operation. One draw decides the length of a life (drawn anew at every tick, a variance of 30 s would become a
mean of 6 s). Every reason for an end (expiry, idleness, the last payload taken, `autopilot drain`, SIGTERM, a failed
check) takes one path: DRAINING lets payloads finish; only at a deadline are they asked to end (TERMINATING) and then
killed (KILLING).

A limit of payloads holds from the first moment on, whether the lifetime is counted or not, and does not wait for a
turn: the node itself refuses any further payload, so the container has nothing to do but to end.

docs/state-machines.md draws `TABLE`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autopilot.amounts import format_count
from autopilot.machines import events
from autopilot.machines.actions import Action, KillPayloads, RequestPermit, StartDrain, TerminatePayloads
from autopilot.machines.tables import IGNORE, Cell, StepContext, build_table, keep_state
from autopilot.spec.plan import Lifetime

KILL_TIMEOUT_S = 35.0  # s for the batch system to kill its payloads; its own limit is 30 s in our configuration


class Phase(Enum):
    """Stage of the container's life."""

    NOT_STARTED = "not yet counted"  # waits for `after`
    COUNTING = "counting"
    QUEUED = "over, waits for its turn to drain"
    DRAINING = "draining"
    TERMINATING = "draining, payloads asked to end"
    KILLING = "draining, payloads killed"
    OVER = "over"


DRAIN_PHASES = frozenset({Phase.DRAINING, Phase.TERMINATING, Phase.KILLING})
FORCED_PHASES = frozenset({Phase.TERMINATING, Phase.KILLING})


class Input(Enum):
    """Input of the lifetime machine."""

    BEGIN = "begin"  # `after` has happened
    ELAPSED = "elapsed"
    PAYLOADS = "payloads"
    TAKEN = "taken"  # so many payloads have begun in this life
    PERMITTED = "permitted"  # it is this container's turn
    DRAIN = "drain"  # a drain is requested
    DRAINED = "drained"
    REPLANNED = "replanned"  # another plan is in effect
    STOP = "stop"  # the supervisor stops without a drain


@dataclass(frozen=True, slots=True)
class LifetimeState:
    """State of the lifetime between two steps. Moments are seconds on the core's clock."""

    phase: Phase = Phase.NOT_STARTED
    deadline: float | None = None
    began: float = 0.0  # moment from which it is counted
    draw: float = 0.0  # the one random number of its length
    expires: float | None = None  # moment at which the life is over
    idle_since: float | None = None
    busy: bool = False
    taken: int = 0  # payloads that have begun in this life
    drain_began: float | None = None
    reason: str = ""
    forced: bool = False


Effect = Action | events.Event
Step = tuple[LifetimeState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext(StepContext[LifetimeState]):
    plan: Lifetime
    draw: float
    busy: bool
    taken: int
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
    taken: int = 0,
    reason: str = "drain",
    requested_by: str = "",
    deadline_in: float | None = None,
) -> Step:
    """Return the state after an input, and the actions and events that follow from it, in order.

    Args:
        plan: The plan of the lifetime.
        state: The state before.
        on: The input.
        now: Seconds on the core's clock.
        draw: A random number, uniform in [0, 1), with BEGIN.
        busy: True while payloads run, with PAYLOADS.
        taken: Payloads that have begun in this life, with TAKEN.
        reason: The reason of the end, with DRAIN.
        requested_by: The author of the request, with DRAIN.
        deadline_in: Seconds until payloads are asked to end, with DRAIN; None: as the plan says.
    """
    return TABLE[state.phase, on](_StepContext(state, now, plan, draw, busy, taken, reason, requested_by, deadline_in))


def describe_payloads(plan: Lifetime, state: LifetimeState) -> str:
    """Return how many of its payloads the life has taken, as in `1 of 1 payload taken`; "" without a limit."""
    return "" if plan.payloads is None else f"{state.taken} of {format_count(plan.payloads, 'payload')} taken"


def _start_counting(t: _StepContext) -> Step:
    life = _compute_length(t.plan, t.draw)
    expires = None if life is None else t.now + life
    idle_since = None if t.state.busy else t.now
    state = replace(t.state, phase=Phase.COUNTING, began=t.now, draw=t.draw, expires=expires, idle_since=idle_since)
    return _set_earliest_deadline(t.plan, state), (events.LifetimeBegun(life),)


def _compute_length(plan: Lifetime, draw: float) -> float | None:
    return None if plan.max is None else plan.max + plan.jitter * draw


def _apply_new_plan(t: _StepContext) -> Step:
    """Apply the same draw to the new length, from the same beginning; drain if all payloads have been taken."""
    if _has_taken_all(t.plan, t.state):
        return _start_drain_after_payloads(t)
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


def _count_payloads(t: _StepContext) -> Step:
    """Take note of payloads that have begun."""
    if t.taken <= t.state.taken:
        return keep_state(t)
    effects = () if t.plan.payloads is None else (events.PayloadsTaken(t.taken, t.plan.payloads),)
    return replace(t.state, taken=t.taken), effects


def _count_payloads_to_limit(t: _StepContext) -> Step:
    """Take note of payloads that have begun, and drain when they are all that this life takes."""
    state, effects = _count_payloads(t)
    if not _has_taken_all(t.plan, state):
        return state, effects
    state, drain = _start_drain_after_payloads(replace(t, state=state))
    return state, (*effects, *drain)


def _check_payload_limit(t: _StepContext) -> Step:
    """Drain if a new plan has a limit that is reached already."""
    return _start_drain_after_payloads(t) if _has_taken_all(t.plan, t.state) else keep_state(t)


def _has_taken_all(plan: Lifetime, state: LifetimeState) -> bool:
    return plan.payloads is not None and state.taken >= plan.payloads


def _start_drain_after_payloads(t: _StepContext) -> Step:
    return _start_drain(
        replace(t, reason="payloads", requested_by=describe_payloads(t.plan, t.state), deadline_in=None)
    )


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
    """Take the deadline of a second request; the drain goes on as it is."""
    if t.deadline_in is None:
        return keep_state(t)
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
    """End the life of a node that was drained without us: by the batch system's own commands, or by a job."""
    return _complete_drain(replace(t, state=replace(t.state, reason="drain")))


def _end(t: _StepContext) -> Step:
    return replace(t.state, phase=Phase.OVER, deadline=None), ()


def compute_longest_rest(plan: Lifetime, state: LifetimeState, now: float) -> float | None:
    """Return the seconds from now until the life must be over; None without a limit.

    The drain counts with its deadline and its grace. A drain without a deadline may last longer than this.

    Args:
        plan: The plan of the lifetime.
        state: The present state.
        now: Seconds on the core's clock.
    """
    drain = 0.0 if plan.deadline is None else plan.deadline + plan.grace
    match state.phase:
        case Phase.NOT_STARTED:
            return None if plan.max is None else plan.max + plan.jitter + drain
        case Phase.COUNTING | Phase.QUEUED:
            return None if state.expires is None else max(0.0, state.expires - now) + drain
        case Phase.OVER:
            return 0.0
    if state.deadline is None:
        return None
    return max(0.0, state.deadline - now) + (plan.grace if state.phase is Phase.DRAINING else 0.0)


Row = dict[str, Cell[_StepContext, Step]]
P = Phase

TABLE = build_table(
    Phase,
    Input,
    not_started=Row(
        begin=Cell(_start_counting, P.COUNTING),
        elapsed=IGNORE,
        payloads=Cell(_record_payloads),
        taken=Cell(_count_payloads_to_limit, P.DRAINING),
        permitted=IGNORE,
        drain=Cell(_start_drain, P.DRAINING),
        drained=Cell(_complete_external_drain, P.OVER),
        replanned=Cell(_check_payload_limit, P.DRAINING),  # the length is drawn at BEGIN, from the plan of that moment
        stop=Cell(_end, P.OVER),
    ),
    counting=Row(
        begin=IGNORE,
        elapsed=Cell(_expire, P.QUEUED, P.DRAINING),
        payloads=Cell(_update_idle_time),
        taken=Cell(_count_payloads_to_limit, P.DRAINING),
        permitted=IGNORE,
        drain=Cell(_start_drain, P.DRAINING),
        drained=Cell(_complete_external_drain, P.OVER),
        replanned=Cell(_apply_new_plan, P.DRAINING),
        stop=Cell(_end, P.OVER),
    ),
    queued=Row(
        begin=IGNORE,
        elapsed=IGNORE,
        payloads=Cell(_record_payloads),
        taken=Cell(_count_payloads_to_limit, P.DRAINING),
        permitted=Cell(_expire, P.DRAINING),
        drain=Cell(_start_drain, P.DRAINING),
        drained=Cell(_complete_external_drain, P.OVER),
        replanned=Cell(_check_payload_limit, P.DRAINING),  # the life is over; only its end waits
        stop=Cell(_end, P.OVER),
    ),
    draining=Row(
        begin=IGNORE,
        elapsed=Cell(_terminate_payloads, P.TERMINATING),
        payloads=IGNORE,  # the batch system reports the end of the drain
        taken=Cell(_count_payloads),
        permitted=IGNORE,
        drain=Cell(_change_deadline),
        drained=Cell(_complete_drain, P.OVER),
        replanned=IGNORE,
        stop=Cell(_end, P.OVER),
    ),
    terminating=Row(
        begin=IGNORE,
        elapsed=Cell(_kill_payloads, P.KILLING),
        payloads=IGNORE,
        taken=Cell(_count_payloads),
        permitted=IGNORE,
        drain=IGNORE,  # payloads were asked to end already, which cannot be called back
        drained=Cell(_complete_drain, P.OVER),
        replanned=IGNORE,
        stop=Cell(_end, P.OVER),
    ),
    killing=Row(
        begin=IGNORE,
        elapsed=Cell(_complete_drain, P.OVER),
        payloads=IGNORE,
        taken=Cell(_count_payloads),
        permitted=IGNORE,
        drain=IGNORE,
        drained=Cell(_complete_drain, P.OVER),
        replanned=IGNORE,
        stop=Cell(_end, P.OVER),
    ),
    over=Row(
        begin=IGNORE,
        elapsed=IGNORE,
        payloads=IGNORE,
        taken=IGNORE,
        permitted=IGNORE,
        drain=IGNORE,
        drained=IGNORE,
        replanned=IGNORE,
        stop=IGNORE,
    ),
)
