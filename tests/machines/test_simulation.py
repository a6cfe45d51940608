"""Whole lives under random trouble, and the rules that they keep."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot.machines import actions, cues, events, shutdown
from autopilot.runtime.simulated_world import Behaviour, SimulatedWorld
from autopilot.spec.plan import Batch, BatchSettings, Command, Drain, Lifetime, Stop, Trigger, When
from tests.machines.plans import NO_PROCESS, TRUE, build_check, build_job, build_plan, build_when, get_finish
from tests.property_examples import scale_examples

DAY = 86400.0
OTHER = Command(argv=("other",))
NAMES = ("a", "b", "c")
EVENTS = ("healthy", "unhealthy", "exitSuccess", "exitFailed", "stopping", "stopped")


def build_flaky_behaviour(mean):
    return Behaviour(
        run_duration=lambda rng: rng.expovariate(1 / mean),
        status=lambda rng: rng.choice([0, 1, 137]),
        check=lambda rng: rng.random() > 0.05,
    )


def test_a_day_of_a_worker_node():
    """A day of a worker node with random crashes: every payload-free rule holds, and nothing is done for nothing."""
    node = build_plan(
        build_job(
            "master",
            restarts=None,
            health=build_check(15, failures=3, on_failure="restart"),
            stop=Stop(group=False, timeout=30),
        ),
        build_job("agent", restarts=None, health=build_check(10), stop=Stop(order=9)),
        build_job("report", when=When(every=300.0), restarts=None),
        build_job("warm", when=build_when("master", "healthy")),
        batch=Batch(system="htcondor", job="master", settings=BatchSettings()),
        lifetime=Lifetime(
            drain=Drain(by_batch_system=True), max=DAY - 7200, after=Trigger(source="master", event="healthy")
        ),
        stop_timeout=60,
    )
    behaviours = {
        "master": build_flaky_behaviour(9000),
        "agent": build_flaky_behaviour(4000),
        "report": build_flaky_behaviour(20),
        "warm": build_flaky_behaviour(5),
    }
    world = SimulatedWorld(node, behaviours, seed=3, drain_duration=3600.0).run(2 * DAY)
    assert len(world.events) + len(world.actions) < 40_000  # nothing spins: a check every 10 s is most of it
    assert world.finish is not None
    assert world.now < DAY + 600
    assert len(world.list_spawn_times("master")) > 3
    assert 250 < len(world.list_spawn_times("report")) < 290


times = st.floats(0.01, 30.0)
whens = st.one_of(
    st.just(When()),
    st.builds(lambda every: When(every=every), times),
    st.builds(lambda step: When(cron=f"*/{step} * * * * *", timezone="UTC"), st.integers(2, 30)),
    st.builds(
        lambda source, event, each, delay: build_when(source, event, each=each, delay=delay),
        st.sampled_from(NAMES),
        st.sampled_from(EVENTS),
        st.booleans(),
        st.sampled_from([0.0, 3.0]),
    ),
)


@st.composite
def jobs(draw, name):
    when = draw(whens)
    again = when.each or when.every is not None or when.cron is not None
    process = again or name != "c" or draw(st.booleans())
    return build_job(
        name,
        when=when,
        command=TRUE if process else NO_PROCESS,
        restarts=draw(st.sampled_from([0, 1, 3] if when.each else [0, 2, None])),
        essential=draw(st.booleans()) and name == "a",
        timeout=draw(st.one_of(st.none(), times)) if process else None,
        stop=Stop(timeout=draw(times), order=draw(st.integers(0, 2))),
        health=draw(
            st.one_of(st.none(), st.builds(build_check, times, on_failure=st.sampled_from(["event", "restart"])))
        ),
        stopping_wait=draw(st.one_of(st.none(), times)),
    )


behaviours = st.builds(
    lambda mean, status, deaf, leaves, sick: Behaviour(
        run_duration=lambda rng: None if mean is None else rng.expovariate(1 / mean),
        status=lambda rng: status,
        ignores_signals=deaf,
        leftovers=leaves,
        check=lambda rng: rng.choice(sick),
    ),
    st.one_of(st.none(), times),
    st.sampled_from([0, 1, 137]),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([(True,), (False,), (True, False), (None,), (True, None)]),
)


@settings(max_examples=scale_examples(150), deadline=None)
@given(
    st.tuples(*(jobs(name) for name in NAMES)),
    st.fixed_dictionaries({name: behaviours for name in NAMES}),
    st.integers(0, 1000),
    st.floats(0.0, 100.0),
)
@pytest.mark.slow
def test_whatever_happens(some_jobs, how, seed, stop_at):
    """Whatever jobs do: no two runs of one at once, no deadline in the past, a stop that ends within its budget, and
    nothing after the end (the world itself asserts the first two and the last).
    """
    world = SimulatedWorld(build_plan(*some_jobs, stop_timeout=20.0), how, seed=seed).run(stop_at)
    if world.finish is None:
        begun = world.core.shutdown.deadline
        world.feed(cues.RequestReceived("terminate", "SIGTERM"))
        limit = (world.now + 20.0 if begun is None else begun) + 3.1
        world.run(limit)
    assert world.finish is not None
    assert world.actions[-1][1] is world.finish
    assert not [job for job in world.live_runs if job not in get_finish(world).remaining_jobs]


def change_jobs(some_jobs):
    """Jobs as another plan may have them: some are gone, some have another command."""
    return st.lists(st.tuples(st.booleans(), st.booleans()), min_size=len(NAMES), max_size=len(NAMES)).map(
        lambda fates: tuple(
            replace(job, command=OTHER) if other else job
            for job, (here, other) in zip(some_jobs, fates, strict=True)
            if here
        )
    )


later = st.tuples(st.tuples(*(jobs(name) for name in NAMES)).flatmap(change_jobs), st.floats(0.0, 40.0))


def check_against_search(job_set, answer):
    """Compare what the job set keeps up to date with a search through all its jobs."""
    deadlines = [record.first_deadline for record in job_set.job_records.values()]
    first = min([job_set.gates.find_deadline(), *deadlines])
    assert answer == (None if first == math.inf else first)
    bad = {name for name, record in job_set.job_records.items() if not record.counts_as_good}
    assert job_set.list_bad_jobs() == bad
    return answer


@pytest.mark.slow
@settings(max_examples=scale_examples(150), deadline=None)
@given(
    st.tuples(*(jobs(name) for name in NAMES)),
    st.lists(later, max_size=4),
    st.fixed_dictionaries({name: behaviours for name in NAMES}),
    st.integers(0, 1000),
    st.booleans(),
)
def test_whatever_plans_come(some_jobs, plans, how, seed, in_maintenance):
    """Whatever plans a life is given and whatever its jobs do then: no two runs of one at once, no deadline missed,
    exactly the jobs of the last plan in the end, and a stop that ends within its budget.
    """
    world = SimulatedWorld(build_plan(*some_jobs, build_job("keeper"), stop_timeout=20.0), how, seed=seed)
    job_set: Any = world.core.job_set
    find_deadline = job_set.find_deadline
    job_set.find_deadline = lambda: check_against_search(job_set, find_deadline())
    if in_maintenance:
        world.feed(cues.RequestReceived("enter-maintenance", "test"))
    for others, pause in plans:
        world.run(world.now + pause)
        if world.finish is None:
            world.feed(cues.PlanChanged(build_plan(*others, build_job("keeper"), stop_timeout=20.0)))
    if world.finish is None and plans:
        world.run(world.now + 120)  # two stops, with pre- and post-stop jobs, of at most 30 s each
        wanted = [j.name for j in (*plans[-1][0], build_job("keeper"))]
        if world.finish is None and world.core.shutdown.phase is shutdown.Phase.UP:
            assert list(world.core.job_records) == wanted
    if world.finish is None:
        begun = world.core.shutdown.deadline
        world.feed(cues.RequestReceived("terminate", "SIGTERM"))
        world.run((world.now + 20.0 if begun is None else begun) + 3.1)
    assert world.finish is not None
    assert not [job for job in world.live_runs if job not in get_finish(world).remaining_jobs]


@settings(max_examples=scale_examples(60), deadline=None)
@given(
    st.fixed_dictionaries({"master": behaviours, "side": behaviours}),
    st.integers(0, 1000),
    st.one_of(st.none(), st.floats(0.0, 500.0)),
    st.one_of(st.none(), times),
)
def test_a_drain_always_ends(how, seed, drain_takes, deadline):
    """A drain ends with the drain, or at its deadline and grace, or with the master: never never, and evicts nobody
    before a deadline.
    """
    node = build_plan(
        build_job("master", restarts=None, essential=True, stop=Stop(group=False, timeout=5)),
        build_job("side", restarts=None),
        batch=Batch(system="htcondor", job="master", settings=BatchSettings()),
        lifetime=Lifetime(drain=Drain(by_batch_system=True), max=10.0, deadline=deadline, grace=5.0),
        stop_timeout=20.0,
    )
    world = SimulatedWorld(node, how, seed=seed, drain_duration=drain_takes).run(2000)
    if drain_takes is None and deadline is None:
        return  # a payload may take as long as it needs: this world has one that never ends
    assert world.finish is not None
    drained = any(isinstance(event, events.DrainCompleted) for _, event in world.events)
    if drained and not any(isinstance(action, actions.TerminatePayloads) for _, action in world.actions):
        assert get_finish(world).outcome.code == 0
        assert not any(isinstance(action, actions.EvictPayloads) for _, action in world.actions)
