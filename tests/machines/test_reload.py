"""A life that takes a new plan: what goes on, what is replaced, what leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.machines import changes, cues, facts, job
from autopilot.machines.cues import Asked, PlanChanged
from autopilot.runtime.world import Behaviour, World
from autopilot.spec.plan import Command, Drain, Htcondor, Job, Lifetime, Plan, Telemetry, Watch, When

from .plans import after, check, plan
from .plans import job as make

OTHER = Command(argv=("false",))


def changed(world: World, *jobs: Job, **fields: object) -> World:
    world.feed(PlanChanged(Plan(jobs=jobs, **fields)))
    return world


def phase(world: World, name: str) -> job.Phase:
    return world.core.units[name].state.phase


def pid(world: World, name: str) -> int | None:
    return world.core.units[name].state.pid


def started(world: World, name: str) -> list[float]:
    return [at for at, fact in world.facts if isinstance(fact, facts.JobStarted) and fact.job == name]


def said(world: World, kind: type[facts.Fact]) -> list[facts.Fact]:
    return [fact for _, fact in world.facts if isinstance(fact, kind)]


def test_unchanged_jobs_keep_their_pid():
    """A job that is the same in the new plan goes on untouched, whatever happens to its neighbours."""
    world = World(plan(make("a"), make("b"))).run(1)
    was = pid(world, "a")
    changed(world, make("a"), Job(name="b", command=OTHER), make("c")).run(2)
    assert pid(world, "a") == was and len(started(world, "a")) == 1
    assert len(started(world, "b")) == 2 and len(started(world, "c")) == 1


def test_a_changed_command_restarts_without_overlap():
    """The old process is gone before the new one starts, even when it is deaf to SIGTERM."""
    world = World(plan(make("a")), {"a": Behaviour(deaf=True)}).run(1)
    changed(world, Job(name="a", command=OTHER)).run(20)  # World asserts that no two runs overlap
    assert [round(at) for at in started(world, "a")] == [0, 6]  # 5 s stop timeout, then SIGKILL
    assert said(world, facts.PlanSettled)


def test_changed_rules_keep_the_process():
    """What is not the process itself is in effect at once and restarts nothing."""
    world = World(plan(make("a", health=check(10)))).run(1)
    was = pid(world, "a")
    changed(world, make("a", health=check(2, failures=3), restarts=None, timeout=30.0)).run(50)
    assert pid(world, "a") == was, "a timeout counts from the next run on"
    passed = [at for at, fact in world.facts if isinstance(fact, facts.CheckPassed)]
    assert len([at for at in passed if at > 10]) >= 19
    world.feed(Asked("restart-job", "test", job="a"))
    world.run(90)
    assert said(world, facts.JobTimedOut)


def test_a_removed_job_is_stopped_and_gone():
    """It gets its stop as ever, and then the core does not know it any more."""
    world = World(plan(make("a"), make("b"))).run(1)
    changed(world, make("a")).run(2)
    assert "b" not in world.core.units and "b" not in world.live
    assert world.finish is None


def test_an_essential_job_that_is_replaced_does_not_end_the_container():
    """Its end was asked for by the new plan, so it is no reason to leave."""
    world = World(plan(make("a", essential=True))).run(1)
    changed(world, Job(name="a", command=OTHER, essential=True)).run(5)
    assert world.finish is None and phase(world, "a") is job.Phase.RUNNING


def test_a_new_job_hears_what_holds_already():
    """A job added later that waits for another's health runs when that one is healthy already."""
    world = World(plan(make("a", health=check(1)))).run(5)
    changed(world, make("a", health=check(1)), make("b", when=after("a", "healthy"))).run(6)
    assert phase(world, "b") is job.Phase.RUNNING


def test_a_new_job_waits_for_what_does_not_hold():
    """An event that was before the job was there is not made up for it."""
    world = World(plan(make("a"))).run(5)
    world.feed(cues.SignalCame("SIGHUP"))
    changed(world, make("a"), make("b", when=after("SIGHUP", "SIGHUP"))).run(6)
    assert phase(world, "b") is job.Phase.WAITING
    world.feed(cues.SignalCame("SIGHUP"))
    assert phase(world.run(7), "b") is job.Phase.RUNNING


def test_a_replaced_job_has_its_farewells_each_time():
    """Pre-stop runs before the old process is asked to end, post-stop before the new one starts; and so each time."""
    before, behind = after("a", "stopping"), after("a", "stopped")
    jobs = (make("before", when=before), make("behind", when=behind))
    short = {"before": Behaviour(runs_for=lambda rng: 1.0), "behind": Behaviour(runs_for=lambda rng: 1.0)}
    world = World(plan(make("a", stopping_wait=9.0), *jobs), short).run(1)
    for command, until in ((OTHER, 10), (Command(argv=("other",)), 20)):
        changed(world, Job(name="a", command=command, stopping_wait=9.0), *jobs).run(until)
    rounded = {name: [round(at) for at in started(world, name)] for name in ("a", "before", "behind")}
    assert rounded == {"a": [0, 3, 12], "before": [1, 10], "behind": [2, 11]}


def test_a_removed_job_takes_its_farewell_with_it():
    """A pre-stop job that is removed together with its job still runs, once."""
    jobs = make("a", stopping_wait=9.0), make("before", when=after("a", "stopping")), make("b")
    world = World(plan(*jobs), {"before": Behaviour(runs_for=lambda rng: 1.0)}).run(1)
    changed(world, make("b")).run(9)
    assert len(started(world, "before")) == 1
    assert set(world.core.units) == {"b"} and said(world, facts.PlanSettled)


def test_farewells_hold_a_successor_up_for_a_while_only():
    """Pre- and post-stop jobs that never end have the stop's budget each, then the successor starts."""
    jobs = make("before", when=after("a", "stopping")), make("behind", when=after("a", "stopped"))
    world = World(plan(make("a"), *jobs, stop_timeout=4.0)).run(1)
    changed(world, Job(name="a", command=OTHER), *jobs, stop_timeout=4.0).run(20)
    assert [round(at) for at in started(world, "a")] == [0, 9]
    changed(world, stop_timeout=4.0).run(40)
    assert not world.core.units and not world.live


def test_a_crash_loop_ends_with_the_corrected_command():
    """The corrected job does not wait for the back-off of the broken one."""
    broken = {"a": Behaviour(runs_for=lambda rng: 0.0, status=lambda rng: 1)}
    world = World(plan(make("a", restarts=None), make("b")), broken).run(60)
    assert phase(world, "a") is job.Phase.BACKOFF
    world.behaviours["a"] = Behaviour()
    now = world.now
    changed(world, Job(name="a", command=OTHER, restarts=None), make("b")).run(now + 0.01)
    assert phase(world, "a") is job.Phase.RUNNING


def test_work_that_is_done_is_not_done_again():
    """A one-shot job that has run stays done when it has not changed; changed, it runs again."""
    once = {"setup": Behaviour(runs_for=lambda rng: 0.1)}
    world = World(plan(make("setup"), make("a")), once).run(1)
    changed(world, make("setup"), make("a", raw=True)).run(2)
    assert len(started(world, "setup")) == 1
    changed(world, Job(name="setup", command=OTHER), make("a")).run(3)
    assert len(started(world, "setup")) == 2


def test_a_job_that_was_given_up_gets_its_chance():
    """A job that never ran because what it waited for could not happen any more waits for it anew."""
    fails = {"a": Behaviour(runs_for=lambda rng: 0.1, status=lambda rng: 1)}
    waits = make("b", when=after("a", "exitSuccess"))
    world = World(plan(make("a"), waits, make("c")), fails).run(1)
    assert phase(world, "b") is job.Phase.DONE
    world.behaviours["a"] = Behaviour(runs_for=lambda rng: 0.1)
    changed(world, Job(name="a", command=OTHER), waits, make("c")).run(2)
    assert phase(world, "b") is job.Phase.RUNNING


def test_a_job_that_a_person_stopped_stays_stopped():
    """A reload is no order to start it; `start` runs what the new plan says."""
    world = World(plan(make("a"), make("b"))).run(1)
    world.feed(Asked("stop-job", "test", job="a"))
    world.run(2)
    changed(world, Job(name="a", command=OTHER), make("b")).run(3)
    assert phase(world, "a") is job.Phase.DONE
    world.feed(Asked("start-job", "test", job="a"))
    assert phase(world.run(4), "a") is job.Phase.RUNNING


def test_a_job_that_is_stopped_while_it_is_replaced_stays_stopped():
    """A person's stop wins, whether it came before the reload or after it, and the work can be done."""
    for stop_first in (True, False):
        short = {"b": Behaviour(runs_for=lambda rng: 30.0), "a": Behaviour(deaf=True)}
        world = World(plan(make("a"), make("b")), short).run(1)
        steps = [
            lambda world=world: world.feed(Asked("stop-job", "test", job="a")),
            lambda world=world: changed(world, Job(name="a", command=OTHER), make("b")),
        ]
        for step in steps if stop_first else reversed(steps):
            step()
        world.run(20)
        assert phase(world, "a") is job.Phase.DONE and len(started(world, "a")) == 1
        assert world.core.units["a"].plan.command == OTHER


def test_a_health_check_goes_while_its_job_stops():
    """Without a check there is none to wait for, whatever the job is doing (no deadline stays in the past)."""
    world = World(plan(make("a", health=check(1)), make("b")), {"a": Behaviour(deaf=True)}).run(3)
    world.feed(Asked("restart-job", "test", job="a"))
    changed(world, make("a"), make("b")).run(60)
    assert phase(world, "a") is job.Phase.RUNNING and world.core.units["a"].health.deadline is None


def test_bounds_that_fall_due_together():
    """Two jobs whose farewells take too long at the same moment leave one after the other, and nothing is lost."""
    empty = Command(argv=())
    jobs = (
        Job(name="aa", command=empty, health=check(1)),
        Job(name="bb", command=empty, health=check(1)),
        make("p", when=after("aa", "stopping")),
        make("q", when=after("bb", "stopped")),
    )
    world = World(plan(*jobs, make("keeper"))).run(3)
    changed(world, make("keeper")).run(60)
    assert set(world.core.units) == {"keeper"} and said(world, facts.PlanSettled)


def test_what_was_seen_of_another_watch_does_not_count():
    """A job that waits for a watch that the same plan changed waits for what is seen of the new one."""
    watch = Watch(name="db", interval=1.0)
    world = World(plan(make("a"), watches=(watch,))).run(1)
    world.feed(cues.WatchChanged("db", True))
    waits = make("b", when=after("watch.db", "healthy"))
    changed(world, make("a"), waits, watches=(replace(watch, tag="primary"),)).run(2)
    assert phase(world, "b") is job.Phase.WAITING
    world.feed(cues.WatchChanged("db", True))
    assert phase(world.run(3), "b") is job.Phase.RUNNING


def test_a_second_change_overtakes_the_first():
    """While a job is still stopping for one plan, the next plan decides what follows it."""
    world = World(plan(make("a"), make("b")), {"a": Behaviour(deaf=True)}).run(1)
    changed(world, Job(name="a", command=OTHER), make("b")).run(2)
    changed(world, make("b")).run(3)
    changed(world, Job(name="a", command=Command(argv=("third",))), make("b")).run(10)
    assert world.core.units["a"].plan.command.argv == ("third",) and len(started(world, "a")) == 2


def test_a_stop_overtakes_a_change():
    """A shutdown that comes while jobs are being replaced ends them; no successor starts."""
    world = World(plan(make("a")), {"a": Behaviour(deaf=True)}).run(1)
    changed(world, Job(name="a", command=OTHER)).run(2)
    world.feed(Asked("stop", "test"))
    world.run(60)
    assert world.finish is not None and len(started(world, "a")) == 1


def test_the_lifetime_moves_with_its_plan():
    """The new length counts from the same beginning with the same draw; one that is over by then ends the life."""
    drain = Drain()
    world = World(plan(make("a"), lifetime=Lifetime(drain=drain, max=1000.0, jitter=100.0))).run(10)
    share = (world.core.lifetime.expires - 1000) / 100
    changed(world, make("a"), lifetime=Lifetime(drain=drain, max=50.0, jitter=10.0)).run(20)
    assert world.core.lifetime.expires == pytest.approx(50 + 10 * share)
    changed(world, make("a"), lifetime=Lifetime(drain=drain, max=5.0)).run(21)
    assert world.finish is not None


def test_the_work_is_not_done_while_successors_are_to_come():
    """A container whose only job is being replaced does not leave."""
    world = World(plan(make("a"))).run(1)
    changed(world, make("b")).run(2)
    assert world.finish is None and phase(world, "b") is job.Phase.RUNNING


# --- what may change ---

CONDOR = plan(make("m"), htcondor=Htcondor(job="m"))


def test_the_batch_systems_process_is_never_restarted():
    """A new plan that would start condor_master another way, or remove it, is refused: payloads would die."""
    other = replace(CONDOR, jobs=(Job(name="m", command=OTHER),))
    assert "kill the payloads" in " ".join(changes.refusals(CONDOR, other))
    assert "kill the payloads" in " ".join(changes.refusals(CONDOR, replace(CONDOR, jobs=())))
    assert changes.refusals(CONDOR, replace(CONDOR, jobs=(make("m", restarts=None), make("x")))) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"state": "/elsewhere"}, "state"),
        ({"socket": "/run/x"}, "control.socket"),
        ({"htcondor": Htcondor(job="a")}, "htcondor"),
        ({"lifetime": Lifetime(drain=Drain(begin=OTHER))}, "lifetime.drain"),
    ],
)
def test_what_a_life_was_built_on_is_settled(fields, named):
    """Each such key is refused by its name, with the remedy."""
    (sentence,) = changes.refusals(plan(make("a")), plan(make("a"), **fields))
    assert sentence.startswith(named) and "autopilot drain" in sentence


def test_changes_are_named():
    """What a reload says it did is what the two plans differ in."""
    old = plan(make("a"), make("b"), make("c"), make("d"))
    new = plan(make("a"), Job(name="b", command=OTHER), make("c", raw=True), make("e"), telemetry=Telemetry(port=1))
    assert changes.between(old, new) == changes.Changes(("e",), ("b",), ("c",), ("d",), ("telemetry",))
    assert not changes.between(old, old)


JOBS = st.lists(
    st.builds(
        Job,
        name=st.sampled_from("abcd"),
        command=st.sampled_from([Command(argv=("x",)), OTHER]),
        restarts=st.sampled_from([0, 2, None]),
        when=st.sampled_from([When(), When(every=3.0), When(each=True)]),
        health=st.sampled_from([None, check(1)]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda job: job.name,
)


@given(plans=st.lists(JOBS, min_size=2, max_size=5), pauses=st.lists(st.floats(0, 8), min_size=5, max_size=5))
def test_any_row_of_plans_ends_in_the_last(plans, pauses):
    """Whatever plans follow each other at whatever moments: in the end there are exactly the jobs of the last one, by
    its rules, never were two runs of one there at once, and each that should run does."""
    deaf = {"a": Behaviour(deaf=True), "b": Behaviour(runs_for=lambda rng: rng.random() * 5)}
    world = World(plan(*plans[0], make("keeper")), deaf)
    for jobs, pause in zip(plans[1:], pauses, strict=False):
        world.run(world.now + pause)
        changed(world, *jobs, make("keeper"))
    world.run(world.now + 60)
    assert world.finish is None
    assert [unit.plan for unit in world.core.units.values()] == [*plans[-1], make("keeper")]
    for name in {"a", "c", "d"} & {j.name for j in plans[-1]}:
        assert started(world, name), f"{name} never ran"
    assert started(world, "keeper") == [0.0]


def test_cron_comes_changes_and_goes():
    """A job gets times by a new plan, gets others by the next one, and none by the last."""
    minutely, hourly = (
        make("a", when=When(cron=cron, timezone="UTC"), restarts=None) for cron in ("* * * * *", "0 * * * *")
    )
    side, short = make("side"), {"a": Behaviour(runs_for=lambda rng: 1.0)}
    world = World(plan(side), short).run(30)
    changed(world, side, minutely).run(200)
    assert [round(at) for at in started(world, "a")] == [60, 120, 180]
    changed(world, side, hourly).run(4000)
    assert [round(at) for at in started(world, "a")] == [60, 120, 180, 3600]
    changed(world, side).run(8000)
    assert len(started(world, "a")) == 4


def test_a_job_loses_and_gets_its_process():
    """A job that is only checked gets a process by a new plan, and loses it by the next one."""
    without = make("a", command=Command(argv=()), health=check())
    world = World(plan(without, make("side"))).run(30)
    assert phase(world, "a") is job.Phase.RUNNING and "a" not in world.live
    changed(world, replace(without, command=OTHER), make("side")).run(60)
    assert "a" in world.live
    changed(world, without, make("side")).run(90)
    assert phase(world, "a") is job.Phase.RUNNING and "a" not in world.live
    world.feed(Asked("stop", "somebody"))
    world.run(100)
    assert world.finish is not None
