"""Decide the next call that brings one service in Consul from its observed to its desired state.

Theory of operation. `desired` is our state, `observed` the one that Consul is known to have; None means unknown, as
after every loss of the agent. One call is in flight at most, and its answer decides the next one. Heartbeats are due
by the time of the last one, not by the job's checks, since a check may take longer than the TTL. Nothing here waits
for Consul: while the agent is UNREACHABLE changes only replace `desired`, and at its return everything is asserted
again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autopilot.adapters.consul.registration_state import (
    ABSENT,
    Call,
    ClearCondition,
    Deregister,
    Desired,
    Effect,
    Input,
    Observed,
    Phase,
    RaiseCondition,
    Register,
    Registration,
    SetMaintenance,
    UpdateCheck,
)
from autopilot.machines.tables import IGNORE, Cell, StepContext, build_table
from autopilot.retry_delay import RetryDelay

HEARTBEATS_PER_TTL = 3  # two may be lost
OUTPUT_UPDATE_INTERVAL_S = 2.0  # between two updates that change nothing but the check's output
RETRY_DELAY = RetryDelay(first_s=0.2, max_s=10.0)  # after a refusal, and after a redefinition
TAKEOVERS_BEFORE_REPORT = 3

Step = tuple[Registration, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext(StepContext[Registration]):
    """The arguments of one step."""

    desired: Desired | None
    reason: str
    draw: float


def step(
    state: Registration, on: Input, now: float, *, desired: Desired | None = None, reason: str = "", draw: float = 0.5
) -> Step:
    """Return the state after an input, and the effects.

    Args:
        state: The state before.
        on: The input.
        now: The event loop's time in seconds.
        desired: The new desired state, with DESIRED_CHANGED.
        reason: The reason of the refusal, with CALL_REFUSED.
        draw: A random number, uniform in [0, 1), which spreads the retries.
    """
    return TABLE[state.phase, on](_StepContext(state, now, desired, reason, draw))


# --- the next call ---


def _start_next_call(t: _StepContext, *effects: Effect) -> Step:
    """Start the next call, or idle until the next heartbeat."""
    call = _choose_next_call(t.state, t.now)
    if call is not None:
        return replace(t.state, phase=Phase.CALLING, call=call, deadline=None), (*effects, call)
    return replace(t.state, phase=Phase.IDLE, call=None, deadline=_compute_next_update_at(t.state)), effects


def _choose_next_call(s: Registration, now: float) -> Call | None:
    desired, observed = s.desired, s.observed
    if desired is None:
        return None if observed == ABSENT else Deregister(s.id)
    if observed is None or observed.definition != desired.definition:
        status = "critical" if desired.maintenance else desired.status  # no traffic before the maintenance is set
        return Register(desired.definition, status, s.foreign_tags)
    if observed.maintenance is not desired.maintenance and (desired.maintenance or s.maintenance_was_set):
        return SetMaintenance(s.id, desired.maintenance)
    due = _compute_next_update_at(s)
    if observed.status != desired.status or (due is not None and now >= due):
        return UpdateCheck(desired.definition, desired.status, desired.output)
    return None


def _compute_next_update_at(s: Registration) -> float | None:
    if s.desired is None or s.observed is None:
        return None
    interval = s.desired.definition.ttl / HEARTBEATS_PER_TTL
    if s.observed.output != s.desired.output:
        interval = min(interval, OUTPUT_UPDATE_INTERVAL_S)
    return s.last_contact_at + interval


# --- the inputs ---


def _set_desired(t: _StepContext) -> Step:
    is_maintenance = t.desired is not None and t.desired.maintenance
    maintenance_was_set = t.state.maintenance_was_set or is_maintenance
    return replace(t.state, desired=t.desired, maintenance_was_set=maintenance_was_set), ()


def _set_desired_and_start_call(t: _StepContext) -> Step:
    return _start_next_call(replace(t, state=_set_desired(t)[0]))


def _complete_call(t: _StepContext) -> Step:
    s = t.state
    observed, last_contact_at = s.observed, s.last_contact_at
    match s.call:
        case Register(definition):  # the status counts as unknown: the update that follows asserts it
            observed, last_contact_at = Observed(definition), t.now
        case UpdateCheck(_, status, output) if observed is not None:
            observed, last_contact_at = replace(observed, status=status, output=output), t.now
        case SetMaintenance(_, enable) if observed is not None:
            observed = replace(observed, maintenance=enable)
        case Deregister():
            observed = ABSENT
    undisturbed = isinstance(s.call, UpdateCheck) and s.observed is not None and s.observed.status is not None
    takeover_count = 0 if undisturbed else s.takeover_count
    effects = (ClearCondition(s.id),) if s.consecutive_refusals or s.takeover_count > takeover_count else ()
    state = replace(
        s,
        observed=observed,
        last_contact_at=last_contact_at,
        call=None,
        consecutive_refusals=0,
        takeover_count=takeover_count,
    )
    return _start_next_call(replace(t, state=state), *effects)


def _handle_missing_service(t: _StepContext) -> Step:
    if isinstance(t.state.call, Register | Deregister):
        return t.state, ()  # the answer of that call decides
    return _start_next_call(replace(t, state=replace(t.state, observed=ABSENT, call=None)))


def _forget_observed_definition(t: _StepContext) -> Step:
    """Treat the definition in Consul as unknown."""
    observed = replace(t.state.observed, definition=None) if t.state.observed is not None else None
    return replace(t.state, observed=observed), ()


def _back_off_after_refusal(t: _StepContext) -> Step:
    refusals = t.state.consecutive_refusals + 1
    state = replace(t.state, call=None, consecutive_refusals=refusals)
    return _back_off(t, state, refusals), ((RaiseCondition(t.state.id, t.reason),) if refusals == 1 else ())


def _back_off_after_redefinition(t: _StepContext) -> Step:
    """Register again, but after a growing delay: a process that uses the same id does the same."""
    takeovers = t.state.takeover_count + 1
    state = replace(t.state, observed=None, takeover_count=takeovers)
    reason = "another process registers the same service id: two containers with one hostname on one agent?"
    condition = (RaiseCondition(t.state.id, reason),) if takeovers == TAKEOVERS_BEFORE_REPORT else ()
    return _back_off(t, state, takeovers), condition


def _back_off(t: _StepContext, state: Registration, failures: int) -> Registration:
    return replace(state, phase=Phase.BACKING_OFF, deadline=t.now + RETRY_DELAY.compute(failures, t.draw))


def _enter_unreachable(t: _StepContext) -> Step:
    """Discard the observed state, unless the service was fully deregistered: no call can have changed that."""
    observed = t.state.observed if t.state.is_fully_deregistered else None
    return replace(t.state, phase=Phase.UNREACHABLE, observed=observed, call=None, deadline=None), ()


def _resume_calls(t: _StepContext) -> Step:
    return _start_next_call(t)


Row = dict[str, Cell[_StepContext, Step]]
P = Phase

TABLE = build_table(
    Phase,
    Input,
    idle=Row(
        desired_changed=Cell(_set_desired_and_start_call, P.CALLING),
        call_succeeded=IGNORE,
        service_missing=Cell(_handle_missing_service, P.CALLING),
        redefined=Cell(_back_off_after_redefinition, P.BACKING_OFF),
        call_refused=IGNORE,
        agent_lost=Cell(_enter_unreachable, P.UNREACHABLE),
        agent_returned=IGNORE,
        deadline_elapsed=Cell(_resume_calls, P.CALLING),
    ),
    calling=Row(
        desired_changed=Cell(_set_desired),  # the answer of the call that is out comes first
        call_succeeded=Cell(_complete_call, P.IDLE),
        service_missing=Cell(_handle_missing_service, P.IDLE),
        redefined=IGNORE,  # the sentinel looks again after each registration
        call_refused=Cell(_back_off_after_refusal, P.BACKING_OFF),
        agent_lost=Cell(_enter_unreachable, P.UNREACHABLE),
        agent_returned=IGNORE,
        deadline_elapsed=IGNORE,
    ),
    backing_off=Row(
        desired_changed=Cell(_set_desired),
        call_succeeded=IGNORE,
        service_missing=Cell(_forget_observed_definition),
        redefined=Cell(_forget_observed_definition),
        call_refused=IGNORE,
        agent_lost=Cell(_enter_unreachable, P.UNREACHABLE),
        agent_returned=IGNORE,
        deadline_elapsed=Cell(_resume_calls, P.IDLE, P.CALLING),
    ),
    unreachable=Row(
        desired_changed=Cell(_set_desired),
        call_succeeded=IGNORE,
        service_missing=IGNORE,
        redefined=IGNORE,
        call_refused=IGNORE,
        agent_lost=IGNORE,
        agent_returned=Cell(_resume_calls, P.IDLE, P.CALLING),
        deadline_elapsed=IGNORE,
    ),
)
