"""The registration of one service, without any Consul: every cell, and what follows from what."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.consul import registration as r
from autopilot.adapters.consul.definition import Definition

WEB = Definition(id="web-h", name="web", ttl=30.0, port=80)
UP = r.Wanted(WEB, "passing", "fine")


class Service:
    """A registration and an agent that answers."""

    def __init__(self):
        self.state = r.Registration("web-h")
        self.now = 100.0
        self.said = []

    def on(self, on, **more):
        self.state, effects = r.step(self.state, on, self.now, **more)
        self.said += effects
        return effects

    def call(self):
        """The call that is out, by its name."""
        return type(self.state.call).__name__

    def settle(self):
        calls = []
        while self.state.phase is r.Phase.CALLING:
            calls.append(self.call())
            self.on(r.On.DONE)
        return calls

    def wait(self):
        self.now = self.state.deadline
        return self.on(r.On.ELAPSED)


@pytest.fixture
def registered():
    service = Service()
    service.on(r.On.WANTED, wanted=UP)
    service.settle()
    return service


def test_every_cell_is_filled():
    """Every phase has an answer to every event."""
    assert set(r.TABLE) == {(phase, on) for phase in r.Phase for on in r.On}


def test_first_registration():
    """A wish becomes a registration, then an update with the output, then a heartbeat three times in each TTL."""
    service = Service()
    service.on(r.On.WANTED, wanted=UP)
    assert service.settle() == ["Register", "Update"]
    assert service.state.deadline == service.now + 10.0
    assert service.wait() == (r.Update(WEB, "passing", "fine"),)


def test_nothing_is_called_for_what_is_there(registered):
    """The same wish again calls nobody."""
    assert registered.on(r.On.WANTED, wanted=UP) == ()


def test_status_at_once_output_with_a_pause(registered):
    """A status that changed is told at once, another output alone within two seconds."""
    registered.on(r.On.WANTED, wanted=replace(UP, output="still fine"))
    assert registered.state.deadline == registered.now + r.SPACING
    assert registered.on(r.On.WANTED, wanted=replace(UP, status="critical")) == (r.Update(WEB, "critical", "fine"),)


def test_heartbeat_without_checks(registered):
    """Heartbeats go on for as long as nothing new is heard of the job: a slow check never lets the TTL lapse."""
    told = []
    for _ in range(20):
        registered.wait()
        told.append(registered.now)
        registered.on(r.On.DONE)
    gaps = {round(b - a, 6) for a, b in pairwise(told)}
    assert gaps == {10.0}


@pytest.mark.parametrize("break_", ["told by the sentinel", "told by a heartbeat", "the agent restarted empty"])
def test_forgotten(registered, break_):
    """Whoever notices that Consul has forgotten the service, it is registered again with the next call."""
    if break_ == "told by the sentinel":
        registered.on(r.On.GONE)
    elif break_ == "told by a heartbeat":
        registered.wait()
        registered.on(r.On.GONE)
    else:
        registered.on(r.On.LOST)
        assert registered.state.deadline is None
        registered.on(r.On.BACK)
    assert registered.settle() == ["Register", "Update"]


def test_wishes_while_cut_off(registered):
    """While the agent is away nothing is called; its return asserts the last wish."""
    registered.on(r.On.LOST)
    for status in ("critical", "passing", "critical"):
        assert registered.on(r.On.WANTED, wanted=replace(UP, status=status)) == ()
    assert registered.on(r.On.BACK) == (r.Register(WEB, "critical"),)


def test_never_offered_never_called():
    """A service that was never wanted is no business of Consul's when the agent comes back."""
    service = Service()
    service.on(r.On.LOST)
    assert service.on(r.On.BACK) == ()


def test_taken_out_while_cut_off(registered):
    """A service that ended while the agent was away is taken out on its return."""
    registered.on(r.On.LOST)
    registered.on(r.On.WANTED, wanted=None)
    assert registered.on(r.On.BACK) == (r.Deregister("web-h"),)
    registered.on(r.On.DONE)
    assert registered.state.over


def test_maintenance_survives_registration(registered):
    """Maintenance is asserted again after every registration, which never lets traffic in between the two."""
    registered.on(r.On.WANTED, wanted=replace(UP, maintenance=True))
    assert registered.settle() == ["Maintain"]
    assert registered.on(r.On.GONE) == (r.Register(WEB, "critical"),)
    assert registered.settle() == ["Register", "Maintain", "Update"]


def test_maintenance_that_ended_while_cut_off(registered):
    """An agent that kept the maintenance over its restart is told that it is over."""
    registered.on(r.On.WANTED, wanted=replace(UP, maintenance=True))
    registered.settle()
    registered.on(r.On.LOST)
    registered.on(r.On.WANTED, wanted=UP)
    registered.on(r.On.BACK)
    assert registered.settle() == ["Register", "Maintain", "Update"]


def test_refused_backs_off_with_jitter():
    """A refusal is said once, tried again ever more rarely, apart from each other, and its end is said too."""
    service = Service()
    service.on(r.On.WANTED, wanted=UP)
    waits = []
    for draw in [0.5] * 8 + [0.0, 0.999]:
        service.on(r.On.REFUSED, why="permission denied", draw=draw)
        waits.append(round(service.state.deadline - service.now, 3))
        service.wait()
    assert waits[:7] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]
    assert (waits[-2], waits[-1]) == (5.0, pytest.approx(15.0, abs=0.02))
    service.settle()
    assert [type(said) for said in service.said if isinstance(said, r.Troubled | r.Mended)] == [r.Troubled, r.Mended]


def test_two_with_one_id_do_not_race(registered):
    """Two supervisors that share an id register ever more rarely, and say why."""
    waits = []
    for _ in range(6):
        registered.on(r.On.REDEFINED)
        waits.append(registered.state.deadline - registered.now)
        registered.wait()
        registered.settle()
    assert waits == sorted(waits) and waits[-1] > 5
    assert any(isinstance(said, r.Troubled) and "hostname" in said.why for said in registered.said)


EVENTS = st.lists(
    st.tuples(st.sampled_from(r.On), st.sampled_from([None, UP, replace(UP, status="critical")]), st.booleans()),
    max_size=60,
)


@given(EVENTS)
def test_always_converges(events):
    """Whatever happened, an agent that is back and answers ends up with exactly what is wanted."""
    service = Service()
    for on, wanted, maintain in events:
        wish = wanted and replace(wanted, maintenance=maintain)
        service.now += 1.0
        service.on(on, wanted=wish, why="no")
    service.on(r.On.LOST)
    service.on(r.On.BACK)
    service.settle()
    wanted = service.state.wanted
    if wanted is None:
        assert service.state.over
    else:
        seen = service.state.seen
        assert (seen.definition, seen.status) == (WEB, wanted.status)
        assert bool(seen.maintenance) == wanted.maintenance


@given(EVENTS)
def test_one_call_at_a_time(events):
    """A call is out exactly while the phase says so."""
    service = Service()
    for on, wanted, _ in events:
        service.now += 1.0
        service.on(on, wanted=wanted, why="no")
        assert (service.state.call is not None) == (service.state.phase is r.Phase.CALLING)
