"""The machine of one registration, without any Consul: every cell of its table, and its sequences of calls."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.consul import registration
from autopilot.adapters.consul import registration_state as r
from autopilot.adapters.consul.service_definition import ServiceDefinition

WEB = ServiceDefinition(id="web-h", name="web", ttl=30.0, port=80)
UP = r.Desired(WEB, "passing", "fine")


class AnsweredRegistration:
    """A registration and an agent that answers."""

    def __init__(self):
        self.state = r.Registration("web-h")
        self.now = 100.0
        self.effects = []

    def apply(self, on, **more):
        self.state, effects = registration.step(self.state, on, self.now, **more)
        self.effects += effects
        return effects

    def get_call_name(self):
        """The name of the call in flight."""
        return type(self.state.call).__name__

    def complete_calls(self):
        calls = []
        while self.state.phase is r.Phase.CALLING:
            calls.append(self.get_call_name())
            self.apply(r.Input.CALL_SUCCEEDED)
        return calls

    def pass_deadline(self):
        assert self.state.deadline is not None
        self.now = self.state.deadline
        return self.apply(r.Input.DEADLINE_ELAPSED)


@pytest.fixture
def registered():
    service = AnsweredRegistration()
    service.apply(r.Input.DESIRED_CHANGED, desired=UP)
    service.complete_calls()
    return service


def test_every_cell_is_filled():
    """The table has a cell for every phase and input."""
    assert set(registration.TABLE) == {(phase, on) for phase in r.Phase for on in r.Input}


def test_first_registration():
    """A desired service is registered, updated with its output, then gets three heartbeats in each TTL."""
    service = AnsweredRegistration()
    service.apply(r.Input.DESIRED_CHANGED, desired=UP)
    assert service.complete_calls() == ["Register", "UpdateCheck"]
    assert service.state.deadline == service.now + 10.0
    assert service.pass_deadline() == (r.UpdateCheck(WEB, "passing", "fine"),)


def test_nothing_is_called_for_what_is_there(registered):
    """The same desired state again causes no call."""
    assert registered.apply(r.Input.DESIRED_CHANGED, desired=UP) == ()


def test_status_at_once_output_with_a_pause(registered):
    """A changed status is sent at once, a changed output alone within two seconds."""
    registered.apply(r.Input.DESIRED_CHANGED, desired=replace(UP, output="still fine"))
    assert registered.state.deadline == registered.now + registration.OUTPUT_UPDATE_INTERVAL_S
    assert registered.apply(r.Input.DESIRED_CHANGED, desired=replace(UP, status="critical")) == (
        r.UpdateCheck(WEB, "critical", "fine"),
    )


def test_heartbeat_without_checks(registered):
    """Heartbeats continue while the job's state does not change, so a slow check never lets the TTL lapse."""
    told = []
    for _ in range(20):
        registered.pass_deadline()
        told.append(registered.now)
        registered.apply(r.Input.CALL_SUCCEEDED)
    gaps = {round(b - a, 6) for a, b in pairwise(told)}
    assert gaps == {10.0}


@pytest.mark.parametrize("break_", ["told by the sentinel", "told by a heartbeat", "the agent restarted empty"])
def test_forgotten(registered, break_):
    """A service that the agent does not know any more is registered by the next call, whichever input showed it."""
    if break_ == "told by the sentinel":
        registered.apply(r.Input.SERVICE_MISSING)
    elif break_ == "told by a heartbeat":
        registered.pass_deadline()
        registered.apply(r.Input.SERVICE_MISSING)
    else:
        registered.apply(r.Input.AGENT_LOST)
        assert registered.state.deadline is None
        registered.apply(r.Input.AGENT_RETURNED)
    assert registered.complete_calls() == ["Register", "UpdateCheck"]


def test_wishes_while_cut_off(registered):
    """An unreachable agent gets no call; its return asserts the last desired state."""
    registered.apply(r.Input.AGENT_LOST)
    for status in ("critical", "passing", "critical"):
        assert registered.apply(r.Input.DESIRED_CHANGED, desired=replace(UP, status=status)) == ()
    assert registered.apply(r.Input.AGENT_RETURNED) == (r.Register(WEB, "critical"),)


def test_never_offered_never_called():
    """A service that was never desired causes no call at the agent's return."""
    service = AnsweredRegistration()
    service.apply(r.Input.AGENT_LOST)
    assert service.apply(r.Input.AGENT_RETURNED) == ()


def test_taken_out_while_cut_off(registered):
    """A service that ended while the agent was unreachable is deregistered at its return."""
    registered.apply(r.Input.AGENT_LOST)
    registered.apply(r.Input.DESIRED_CHANGED, desired=None)
    assert registered.apply(r.Input.AGENT_RETURNED) == (r.Deregister("web-h"),)
    registered.apply(r.Input.CALL_SUCCEEDED)
    assert registered.state.is_fully_deregistered


def test_maintenance_survives_registration(registered):
    """Maintenance is asserted again after every registration, which never lets traffic in between the two."""
    registered.apply(r.Input.DESIRED_CHANGED, desired=replace(UP, maintenance=True))
    assert registered.complete_calls() == ["SetMaintenance"]
    assert registered.apply(r.Input.SERVICE_MISSING) == (r.Register(WEB, "critical"),)
    assert registered.complete_calls() == ["Register", "SetMaintenance", "UpdateCheck"]


def test_maintenance_that_ended_while_cut_off(registered):
    """The end of the maintenance is sent to an agent that kept it over its restart."""
    registered.apply(r.Input.DESIRED_CHANGED, desired=replace(UP, maintenance=True))
    registered.complete_calls()
    registered.apply(r.Input.AGENT_LOST)
    registered.apply(r.Input.DESIRED_CHANGED, desired=UP)
    registered.apply(r.Input.AGENT_RETURNED)
    assert registered.complete_calls() == ["Register", "SetMaintenance", "UpdateCheck"]


def test_refused_backs_off_with_jitter():
    """A streak of refusals raises one condition, is retried with growing spread delays, and its end clears the
    condition.
    """
    service = AnsweredRegistration()
    service.apply(r.Input.DESIRED_CHANGED, desired=UP)
    waits = []
    for draw in [0.5] * 8 + [0.0, 0.999]:
        service.apply(r.Input.CALL_REFUSED, reason="permission denied", draw=draw)
        assert service.state.deadline is not None
        waits.append(round(service.state.deadline - service.now, 3))
        service.pass_deadline()
    assert waits[:7] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]
    assert waits[-2] == 5.0 and waits[-1] == pytest.approx(15.0, abs=0.02)
    service.complete_calls()
    assert [type(said) for said in service.effects if isinstance(said, r.RaiseCondition | r.ClearCondition)] == [
        r.RaiseCondition,
        r.ClearCondition,
    ]


def test_two_with_one_id_do_not_race(registered):
    """Two supervisors that share an id register with growing delays, and raise a condition."""
    waits = []
    for _ in range(6):
        registered.apply(r.Input.REDEFINED)
        waits.append(registered.state.deadline - registered.now)
        registered.pass_deadline()
        registered.complete_calls()
    assert waits == sorted(waits) and waits[-1] > 5
    assert any(isinstance(said, r.RaiseCondition) and "hostname" in said.reason for said in registered.effects)


EVENTS = st.lists(
    st.tuples(st.sampled_from(r.Input), st.sampled_from([None, UP, replace(UP, status="critical")]), st.booleans()),
    max_size=60,
)


@given(EVENTS)
def test_always_converges(events):
    """After any sequence of inputs an agent that answers gets exactly the desired state."""
    service = AnsweredRegistration()
    for on, wanted, maintain in events:
        wish = wanted and replace(wanted, maintenance=maintain)
        service.now += 1.0
        service.apply(on, desired=wish, reason="no")
    service.apply(r.Input.AGENT_LOST)
    service.apply(r.Input.AGENT_RETURNED)
    service.complete_calls()
    wanted = service.state.desired
    if wanted is None:
        assert service.state.is_fully_deregistered
    else:
        seen = service.state.observed
        assert seen is not None and (seen.definition, seen.status) == (WEB, wanted.status)
        assert bool(seen.maintenance) == wanted.maintenance


@given(EVENTS)
def test_one_call_at_a_time(events):
    """A call is in flight exactly in the phase CALLING."""
    service = AnsweredRegistration()
    for on, wanted, _ in events:
        service.now += 1.0
        service.apply(on, desired=wanted, reason="no")
        assert (service.state.call is not None) == (service.state.phase is r.Phase.CALLING)
