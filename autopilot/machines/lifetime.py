"""Decide when the life of the container is over, and drain the node before it ends.

Theory of operation. One draw decides the length of a life (drawn anew at every tick, a variance of 30 s would become a
mean of 6 s). Every reason for an end (expiry, idleness, the last payload taken, `autopilot drain`, SIGTERM, a failed
check) takes one path: DRAINING lets payloads finish; only at a deadline are they asked to end (TERMINATING) and then
killed (KILLING).

A limit of payloads holds from the first moment on, whether the lifetime is counted or not, and does not wait for a
turn: the node itself refuses any further payload, so the container has nothing to do but to end.

A batch job around the supervisor (`lifetime.within`) ends at a known moment, which may move. Counted back from it there
is a latest moment for each step: `_find_latest_moments`. Each step is done then at the latest, in whatever phase the
life is, and no turn to drain is waited for any longer.

docs/state-machines.md draws `TABLE`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from autopilot.amounts import format_count
from autopilot.machines import events
from autopilot.machines.actions import Action, KillPayloads, RequestPermit, StartDrain, TerminatePayloads
from autopilot.machines.tables import IGNORE, Cell, StepContext, build_table, keep_state
from autopilot.spec.plan import Lifetime

OUTER_JOB_CAUSE = "the batch job around it ends soon"
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
    OUTER_END = "outer end"  # the batch job around the supervisor has another end than before


@dataclass(frozen=True, slots=True)
class LifetimeState:
    """State of the lifetime between two steps. Moments are seconds on the core's clock."""

    phase: Phase = Phase.NOT_STARTED
    deadline: float | None = None
    began: float = 0.0  # moment from which it is counted
    draw: float = 0.0  # the one random number of its length
    expires: float | None = None  # moment at which the life is over
    outer_end: float | None = None  # moment at which the batch job around the supervisor ends
    wanted_deadline: float | None = None  # of the drain, whenever the batch job ends
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
    outer_end: float | None


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
    outer_end: float | None = None,
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
        outer_end: The moment at which the batch job around the supervisor ends, with OUTER_END; None: it has no limit.
    """
    return TABLE[state.phase, on](
        _StepContext(state, now, plan, draw, busy, taken, reason, requested_by, deadline_in, outer_end)
    )


def describe_payloads(plan: Lifetime, state: LifetimeState) -> str:
    """Return how many of its payloads the life has taken, as in `1 of 1 payload taken`; "" without a limit."""
    return "" if plan.payloads is None else f"{state.taken} of {format_count(plan.payloads, 'payload')} taken"


class _LatestMoments(NamedTuple):
    """The latest moments of an end that is over before the batch job around the supervisor; None without a limit."""

    drain: float | None = None
    soft_stop: float | None = None
    hard_stop: float | None = None


def compute_drain_budget(plan: Lifetime) -> float:
    """Return the seconds that the end of a life may take, from the drain's start; 0 where the drain has no deadline."""
    if plan.deadline is None:
        return 0.0
    return plan.deadline + plan.grace + KILL_TIMEOUT_S + (plan.within.reserve if plan.within is not None else 0.0)


def _find_latest_moments(plan: Lifetime, state: LifetimeState) -> _LatestMoments:
    if plan.within is None or state.outer_end is None:
        return _LatestMoments()
    hard_stop = state.outer_end - plan.within.reserve - KILL_TIMEOUT_S
    return _LatestMoments(state.outer_end - compute_drain_budget(plan), hard_stop - plan.grace, hard_stop)


def _get_earlier(moment: float | None, latest: float | None, now: float) -> float | None:
    """Return a moment, or the latest one that is allowed, but none in the past; None without both."""
    return moment if latest is None else max(now, latest if moment is None else min(moment, latest))


def _start_counting(t: _StepContext) -> Step:
    life = _compute_length(t.plan, t.draw)
    idle_since = None if t.state.busy else t.now
    state = replace(t.state, phase=Phase.COUNTING, began=t.now, draw=t.draw, idle_since=idle_since)
    state = replace(state, expires=_find_expiry(t.plan, state, t.now))
    if state.outer_end is not None and state.expires is not None:
        life = state.expires - t.now
    return _set_earliest_deadline(t.plan, state), (events.LifetimeBegun(life),)


def _compute_length(plan: Lifetime, draw: float) -> float | None:
    return None if plan.max is None else plan.max + plan.jitter * draw


def _find_expiry(plan: Lifetime, state: LifetimeState, now: float) -> float | None:
    """Return the moment at which a life that counts is over: by its length, or in time for the batch job's end."""
    life, latest = _compute_length(plan, state.draw), _find_latest_moments(plan, state)
    expires = None if life is None else max(now, state.began + life)
    return _get_earlier(expires, latest.drain, now)


def _apply_new_plan(t: _StepContext) -> Step:
    """Apply the same draw to the new length, from the same beginning; drain if all payloads have been taken."""
    if _has_taken_all(t.plan, t.state):
        return _start_drain_after_payloads(t)
    expires = _find_expiry(t.plan, t.state, t.now)
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


def _await_outer_end(t: _StepContext) -> Step:
    """Take note of the batch job's end, before the life counts or while its end waits for a turn to drain."""
    state = replace(t.state, outer_end=t.outer_end)
    latest = _find_latest_moments(t.plan, state)
    return replace(state, deadline=_get_earlier(None, latest.drain, t.now)), ()


def _move_expiry(t: _StepContext) -> Step:
    return _apply_new_plan(replace(t, state=replace(t.state, outer_end=t.outer_end)))


def _move_drain_deadline(t: _StepContext) -> Step:
    state = replace(t.state, outer_end=t.outer_end)
    deadline = _find_drain_deadline(t.plan, state, t.now)
    if deadline == state.deadline or deadline is None:
        return replace(state, deadline=deadline), ()
    return replace(state, deadline=deadline), (events.DrainDeadlineChanged(OUTER_JOB_CAUSE, deadline - t.now),)


def _find_drain_deadline(plan: Lifetime, state: LifetimeState, now: float) -> float | None:
    latest = _find_latest_moments(plan, state)
    return _get_earlier(state.wanted_deadline, latest.soft_stop, now)


def _hasten_kill(t: _StepContext) -> Step:
    state = replace(t.state, outer_end=t.outer_end)
    latest = _find_latest_moments(t.plan, state)
    return replace(state, deadline=_get_earlier(state.deadline, latest.hard_stop, t.now)), ()


def _record_outer_end(t: _StepContext) -> Step:
    return replace(t.state, outer_end=t.outer_end), ()


def _expire(t: _StepContext) -> Step:
    latest = _find_latest_moments(t.plan, t.state)
    if latest.drain is not None and t.now >= latest.drain:
        return _start_drain(replace(t, reason="lifetime", requested_by=OUTER_JOB_CAUSE))
    expired = t.state.expires is not None and t.now >= t.state.expires
    reason = "lifetime" if expired else "idle"
    if t.plan.queue and t.state.phase is Phase.COUNTING:
        return replace(t.state, phase=Phase.QUEUED, deadline=latest.drain), (events.LifetimeQueued(), RequestPermit())
    return _start_drain(
        replace(t, reason=reason, requested_by="its lifetime is over" if expired else "nothing has run for long enough")
    )


def _start_drain(t: _StepContext) -> Step:
    within = t.plan.deadline if t.deadline_in is None else t.deadline_in
    wanted = None if within is None else t.now + within
    state = replace(t.state, phase=Phase.DRAINING, wanted_deadline=wanted, drain_began=t.now, reason=t.reason)
    deadline = _find_drain_deadline(t.plan, state, t.now)
    if deadline is not None and deadline != wanted:
        within = deadline - t.now
    return replace(state, deadline=deadline), (
        events.DrainBegun(t.reason, t.requested_by, within),
        StartDrain(t.reason),
    )


def _change_deadline(t: _StepContext) -> Step:
    """Take the deadline of a second request; the drain goes on as it is."""
    if t.deadline_in is None:
        return keep_state(t)
    state = replace(t.state, wanted_deadline=t.now + t.deadline_in)
    deadline = _find_drain_deadline(t.plan, state, t.now)
    within = t.deadline_in if deadline is None or deadline == state.wanted_deadline else deadline - t.now
    return replace(state, deadline=deadline), (events.DrainDeadlineChanged(t.requested_by, within),)


def _terminate_payloads(t: _StepContext) -> Step:
    latest, wanted = _find_latest_moments(t.plan, t.state), t.now + t.plan.grace
    deadline = _get_earlier(wanted, latest.hard_stop, t.now)
    grace = t.plan.grace if deadline is None or deadline == wanted else deadline - t.now
    state = replace(t.state, phase=Phase.TERMINATING, deadline=deadline, forced=True)
    return state, (events.DrainDeadlineReached(grace), TerminatePayloads())


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
    rest = _compute_longest_own_rest(plan, state, now)
    if state.outer_end is None or state.phase is Phase.OVER:
        return rest
    until_outer_end = max(0.0, state.outer_end - now)
    return until_outer_end if rest is None else min(rest, until_outer_end)


def _compute_longest_own_rest(plan: Lifetime, state: LifetimeState, now: float) -> float | None:
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
        elapsed=Cell(_expire, P.DRAINING),  # only the batch job around it can end a life that does not count yet
        payloads=Cell(_record_payloads),
        taken=Cell(_count_payloads_to_limit, P.DRAINING),
        permitted=IGNORE,
        drain=Cell(_start_drain, P.DRAINING),
        drained=Cell(_complete_external_drain, P.OVER),
        replanned=Cell(_check_payload_limit, P.DRAINING),  # the length is drawn at BEGIN, from the plan of that moment
        stop=Cell(_end, P.OVER),
        outer_end=Cell(_await_outer_end),
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
        outer_end=Cell(_move_expiry),
    ),
    queued=Row(
        begin=IGNORE,
        elapsed=Cell(_expire, P.DRAINING),  # the batch job around it does not wait for our turn
        payloads=Cell(_record_payloads),
        taken=Cell(_count_payloads_to_limit, P.DRAINING),
        permitted=Cell(_expire, P.DRAINING),
        drain=Cell(_start_drain, P.DRAINING),
        drained=Cell(_complete_external_drain, P.OVER),
        replanned=Cell(_check_payload_limit, P.DRAINING),  # the life is over; only its end waits
        stop=Cell(_end, P.OVER),
        outer_end=Cell(_await_outer_end),
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
        outer_end=Cell(_move_drain_deadline),
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
        outer_end=Cell(_hasten_kill),
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
        outer_end=Cell(_record_outer_end),  # its payloads are being killed: nothing is left to hasten
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
        outer_end=IGNORE,
    ),
)
