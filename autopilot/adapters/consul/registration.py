"""One service in Consul: what we want there, what we know to be there, and the one call that brings them together.

Theory of operation. `wanted` is ours, `seen` is what Consul is known to hold; None means that nobody knows, which is
so after every break. At most one call is out at a time, and its answer decides the next one. Heartbeats are due by the
time of the last one, not by the job's checks: a check may take longer than the TTL. Nothing here waits for Consul:
while the agent cannot be reached (CUT) wishes only change `wanted`, and its return asserts the whole of it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autopilot.adapters.consul.service_definition import ServiceDefinition
from autopilot.machines.tables import IGNORE, Cell, StepContext, build_table

HEARTBEATS_PER_TTL = 3  # in one TTL: two may be lost
OUTPUT_UPDATE_INTERVAL_S = 2.0  # s between two updates that change nothing but the check's output
FIRST_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 0.2, 10.0  # s, after what the agent refuses


class Phase(Enum):
    IDLE = "settled"  # until the next heartbeat
    CALLING = "calling"
    BACKING_OFF = "resting"  # the agent refused; again at the deadline
    UNREACHABLE = "cut off"  # the agent cannot be reached


class Input(Enum):
    DESIRED_CHANGED = "wanted"  # the wish has changed
    CALL_SUCCEEDED = "done"
    SERVICE_MISSING = "gone"  # the agent does not know the service
    REDEFINED = "redefined"  # somebody else registered our id
    CALL_REFUSED = "refused"
    AGENT_LOST = "lost"
    AGENT_RETURNED = "back"
    DEADLINE_ELAPSED = "elapsed"


@dataclass(frozen=True, slots=True)
class Desired:
    definition: ServiceDefinition
    status: str  # passing, warning, critical
    output: str = ""
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """None in a field: not known."""

    definition: ServiceDefinition | None
    status: str | None = None
    output: str | None = None
    maintenance: bool | None = None


ABSENT = Observed(None)


@dataclass(frozen=True, slots=True)
class Register:
    definition: ServiceDefinition
    status: str
    foreign_tags: tuple[str, ...] | None = None  # others' tags, which stay


@dataclass(frozen=True, slots=True)
class UpdateCheck:
    definition: ServiceDefinition
    status: str
    output: str


@dataclass(frozen=True, slots=True)
class SetMaintenance:
    id: str
    enable: bool


@dataclass(frozen=True, slots=True)
class Deregister:
    id: str


Call = Register | UpdateCheck | SetMaintenance | Deregister


@dataclass(frozen=True, slots=True)
class RaiseCondition:
    """Consul does not take the service: said once for each streak."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClearCondition:
    id: str


Effect = Call | RaiseCondition | ClearCondition


@dataclass(frozen=True, slots=True)
class Registration:
    id: str
    phase: Phase = Phase.IDLE
    deadline: float | None = None
    desired: Desired | None = None
    observed: Observed | None = ABSENT
    call: Call | None = None
    last_contact_at: float = 0.0  # when Consul last heard from us
    consecutive_refusals: int = 0  # refusals in a row
    takeover_count: int = 0  # how often somebody else took our id since the last quiet heartbeat
    foreign_tags: tuple[str, ...] | None = None  # as others have set them, where they may
    maintenance_was_set: bool = False  # we have put it into maintenance at some time

    @property
    def registered(self) -> bool:
        return self.observed is not None and self.observed.definition is not None

    @property
    def fully_deregistered(self) -> bool:
        """Nothing is wanted and nothing is there."""
        return self.desired is None and self.observed == ABSENT and self.call is None


Step = tuple[Registration, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext(StepContext[Registration]):
    desired: Desired | None
    reason: str
    draw: float


def step(
    state: Registration, on: Input, now: float, *, desired: Desired | None = None, reason: str = "", draw: float = 0.5
) -> Step:
    """The state after `on`. `wanted` comes with WANTED, `why` with REFUSED; `draw` is uniform in [0, 1)."""
    return TABLE[state.phase, on](_StepContext(state, now, desired, reason, draw))


# --- what to do next ---


def _start_next_call(t: _StepContext, *effects: Effect) -> Step:
    """The next call, or rest until the next heartbeat."""
    call = _choose_next_call(t.state, t.now)
    if call is not None:
        return replace(t.state, phase=Phase.CALLING, call=call, deadline=None), (*effects, call)
    return replace(t.state, phase=Phase.IDLE, call=None, deadline=_compute_next_update_at(t.state)), effects


def _choose_next_call(s: Registration, now: float) -> Call | None:
    wanted, seen = s.desired, s.observed
    if wanted is None:
        return None if seen == ABSENT else Deregister(s.id)
    if seen is None or seen.definition != wanted.definition:
        status = "critical" if wanted.maintenance else wanted.status  # no moment of traffic before the maintenance
        return Register(wanted.definition, status, s.foreign_tags)
    if seen.maintenance is not wanted.maintenance and (wanted.maintenance or s.maintenance_was_set):
        return SetMaintenance(s.id, wanted.maintenance)
    due = _compute_next_update_at(s)
    if seen.status != wanted.status or (due is not None and now >= due):
        return UpdateCheck(wanted.definition, wanted.status, wanted.output)
    return None


def _compute_next_update_at(s: Registration) -> float | None:
    if s.desired is None or s.observed is None:
        return None
    beat = s.desired.definition.ttl / HEARTBEATS_PER_TTL
    return s.last_contact_at + (min(beat, OUTPUT_UPDATE_INTERVAL_S) if s.observed.output != s.desired.output else beat)


# --- what happens ---


def _set_desired(t: _StepContext) -> Step:
    return replace(
        t.state,
        desired=t.desired,
        maintenance_was_set=t.state.maintenance_was_set or _is_maintenance_desired(t.desired),
    ), ()


def _set_desired_and_start_call(t: _StepContext) -> Step:
    return _start_next_call(replace(t, state=_set_desired(t)[0]))


def _is_maintenance_desired(desired: Desired | None) -> bool:
    return desired is not None and desired.maintenance


def _complete_call(t: _StepContext) -> Step:
    s = t.state
    seen, told = s.observed, s.last_contact_at
    match s.call:
        case Register(definition):  # what it says of the check is asserted by the update that follows
            seen, told = Observed(definition), t.now
        case UpdateCheck(_, status, output) if seen is not None:
            seen, told = replace(seen, status=status, output=output), t.now
        case SetMaintenance(_, enable) if seen is not None:
            seen = replace(seen, maintenance=enable)
        case Deregister():
            seen = ABSENT
    quiet = isinstance(s.call, UpdateCheck) and s.observed is not None and s.observed.status is not None
    contested = 0 if quiet else s.takeover_count
    said = (ClearCondition(s.id),) if s.consecutive_refusals or s.takeover_count > contested else ()
    return _start_next_call(
        replace(
            t,
            state=replace(
                s, observed=seen, last_contact_at=told, call=None, consecutive_refusals=0, takeover_count=contested
            ),
        ),
        *said,
    )


def _handle_missing_service(t: _StepContext) -> Step:
    if isinstance(t.state.call, Register | Deregister):
        return t.state, ()  # that call settles it
    return _start_next_call(replace(t, state=replace(t.state, observed=ABSENT, call=None)))


def _forget_observed_definition(t: _StepContext) -> Step:
    """What was there is not known to be there any more."""
    seen = replace(t.state.observed, definition=None) if t.state.observed is not None else None
    return replace(t.state, observed=seen), ()


def _back_off_after_refusal(t: _StepContext) -> Step:
    """Rest longer each time, give or take a half, so that many supervisors do not come back together."""
    failures = t.state.consecutive_refusals + 1
    state = replace(t.state, call=None, consecutive_refusals=failures)
    return _back_off(t, state, failures), ((RaiseCondition(t.state.id, t.reason),) if failures == 1 else ())


def _back_off(t: _StepContext, state: Registration, attempts: int) -> Registration:
    delay = min(FIRST_RETRY_DELAY_S * 2 ** (attempts - 1), MAX_RETRY_DELAY_S) * (0.5 + t.draw)
    return replace(state, phase=Phase.BACKING_OFF, deadline=t.now + delay)


def _back_off_after_redefinition(t: _StepContext) -> Step:
    """Ours again, but not in a race: whoever shares our id does the same."""
    contested = t.state.takeover_count + 1
    state = replace(t.state, observed=None, takeover_count=contested)
    why = "somebody else registers the same service id: two containers with one hostname on one agent?"
    return _back_off(t, state, contested), ((RaiseCondition(t.state.id, why),) if contested == 3 else ())


def _enter_unreachable(t: _StepContext) -> Step:
    """What was there may be gone; what was not there has not come."""
    seen = t.state.observed if t.state.fully_deregistered else None
    return replace(t.state, phase=Phase.UNREACHABLE, observed=seen, call=None, deadline=None), ()


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
