"""A life inside of a batch job is over in time before that job ends, in whatever phase it learns of the end."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.machines import actions, events
from autopilot.machines.core import Core
from autopilot.machines.cues import OuterEndObserved, RequestReceived
from autopilot.machines.lifetime import KILL_TIMEOUT_S, Phase, compute_drain_budget, compute_longest_rest
from autopilot.runtime.simulated_world import SimulatedWorld
from autopilot.spec.plan import Batch, BatchSettings, Drain, Lifetime, OuterJob, Trigger
from tests.machines.plans import TRUE, build_check, build_job, build_plan

RESERVE, DEADLINE, GRACE = 40.0, 100.0, 20.0
BUDGET = RESERVE + KILL_TIMEOUT_S + DEADLINE + GRACE


def build_lifetime(**fields: Any) -> Lifetime:
    usual = {"drain": Drain(by_batch_system=True), "deadline": DEADLINE, "grace": GRACE}
    return Lifetime(**{**usual, "within": OuterJob(reserve=RESERVE), **fields})


def build_world(drain_duration: float | None = 0.0, **fields: Any) -> SimulatedWorld:
    master = build_job("master", essential=True, health=build_check())
    batch = Batch(system="any", job="master", settings=BatchSettings())
    return SimulatedWorld(
        build_plan(master, batch=batch, lifetime=build_lifetime(**fields), stop_timeout=10.0),
        drain_duration=drain_duration,
    )


def observe(world: SimulatedWorld, seconds: float | None) -> SimulatedWorld:
    world.feed(OuterEndObserved(seconds, None if seconds is None else 1e9 + seconds, "test"))
    return world


def find_drain(world: SimulatedWorld) -> tuple[float, events.DrainBegun]:
    (found,) = [(moment, e) for moment, e in world.events if isinstance(e, events.DrainBegun)]
    return found


def test_the_budget_of_a_drain() -> None:
    """The drain's deadline, the grace, the kill and the ordered stop with its margin fit before the end."""
    assert compute_drain_budget(build_lifetime()) == BUDGET


def test_drain_begins_in_time() -> None:
    """The drain begins a budget before the batch job's end, for the reason `lifetime`, and says why."""
    world = observe(build_world().run(5), 1000.0).run(2000)
    moment, drain = find_drain(world)
    assert moment == pytest.approx(1005 - BUDGET, abs=0.1)
    assert (drain.reason, drain.who) == ("lifetime", "the batch job around it ends soon")
    assert world.finish is not None and world.finish.outcome.code == 0


def test_a_life_that_does_not_count_yet() -> None:
    """A life whose `after` never happens drains in time all the same."""
    world = observe(build_world(after=Trigger(source="master", event="stopped")).run(5), 1000.0).run(2000)
    assert find_drain(world)[0] == pytest.approx(1005 - BUDGET, abs=0.1)


def test_a_turn_to_drain_is_not_waited_for() -> None:
    """A life that waits for its turn to drain drains without it when the batch job's end is near."""
    plan = build_plan(build_job("main"), lifetime=build_lifetime(queue=True, max=10.0, drain=Drain(begin=TRUE)))
    core = Core(plan, rng=random.Random(1), now=0.0)
    core.begin(0.0)
    core.feed(OuterEndObserved(1000.0, 1e9, "test"), 0.0)
    core.tick(10.0)
    assert core.lifetime.phase is Phase.QUEUED
    assert actions.StartDrain("lifetime") in core.tick(1000.0 - BUDGET)


def test_the_earlier_end_counts() -> None:
    """lifetime.max ends a life before its batch job does, and the drain keeps its own deadline."""
    world = observe(build_world(max=50.0).run(5), 1000.0).run(2000)
    assert find_drain(world)[0] == pytest.approx(50, abs=0.1)
    assert find_drain(world)[1].deadline == DEADLINE


def test_an_end_that_moves() -> None:
    """A longer batch job prolongs the life, a shorter one shortens it, and one without a limit bounds it no more."""
    world = observe(build_world().run(5), 1000.0)
    observe(world.run(10), 3000.0)
    assert world.core.lifetime.expires == pytest.approx(3010 - BUDGET)
    observe(world.run(20), 500.0)
    assert world.core.lifetime.expires == pytest.approx(520 - BUDGET)
    assert compute_longest_rest(world.core.lifetime_plan, world.core.lifetime, 20.0) == pytest.approx(
        500 - RESERVE - KILL_TIMEOUT_S
    )
    observe(world, None)
    assert world.core.lifetime.expires is None
    assert world.run(5000).finish is None


def test_a_drain_with_a_long_deadline_is_cut() -> None:
    """A drain of an operator with a day of time asks payloads to end in time before the batch job's end."""
    world = observe(build_world(drain_duration=None).run(5), 1000.0)
    world.feed(RequestReceived("drain", "a person", deadline=86400.0))
    world.run(2000)
    assert find_drain(world)[1].deadline == pytest.approx(1000 - RESERVE - KILL_TIMEOUT_S - GRACE)
    (asked,) = [moment for moment, e in world.events if isinstance(e, events.DrainDeadlineReached)]
    assert asked == pytest.approx(1005 - RESERVE - KILL_TIMEOUT_S - GRACE, abs=0.1)


def test_a_drain_gets_the_time_back() -> None:
    """A batch job that becomes longer during a drain gives the drain its own deadline back."""
    world = observe(build_world(drain_duration=None).run(5), 400.0)
    world.feed(RequestReceived("drain", "a person", deadline=1000.0))
    world.run(10)
    observe(world, 86400.0)
    (changed,) = [e for _, e in world.events if isinstance(e, events.DrainDeadlineChanged)]
    assert changed.deadline == pytest.approx(995, abs=0.1)


@given(
    first=st.one_of(st.none(), st.floats(0, 5000)),
    moves=st.lists(st.tuples(st.floats(1, 400), st.one_of(st.none(), st.floats(0, 5000))), max_size=6),
    drain_at=st.one_of(st.none(), st.floats(1, 500)),
    drain_duration=st.one_of(st.none(), st.floats(0, 3000)),
)
def test_the_hard_stop_is_never_late(
    first: float | None,
    moves: list[tuple[float, float | None]],
    drain_at: float | None,
    drain_duration: float | None,
) -> None:
    """However the end moves, no phase has a deadline after the latest moment for it that the last known end allows."""
    world = observe(build_world(drain_duration=drain_duration), first)
    for step, end in moves:
        if drain_at is not None and world.now >= drain_at:
            world.feed(RequestReceived("drain", "a person", deadline=10_000.0))
            drain_at = None
        world.run(world.now + step)
        if world.finish is not None:
            return
        observe(world, end)
        state, now = world.core.lifetime, world.now
        if state.outer_end is None:
            continue
        latest = {Phase.TERMINATING: RESERVE + KILL_TIMEOUT_S, Phase.DRAINING: RESERVE + KILL_TIMEOUT_S + GRACE}
        if state.phase in (Phase.NOT_STARTED, Phase.COUNTING, Phase.QUEUED, *latest):
            assert state.deadline is not None
            assert state.deadline <= max(now, state.outer_end - latest.get(state.phase, BUDGET)) + 1e-6
