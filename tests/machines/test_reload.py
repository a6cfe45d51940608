"""A running life takes a new plan: jobs go on, are replaced, or leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.machines import cues, events, job, plan_changes
from autopilot.machines.cues import PlanChanged, RequestReceived
from autopilot.runtime.simulated_world import Behaviour, SimulatedWorld
from autopilot.spec.plan import Batch, BatchSettings, Command, Drain, Job, Lifetime, Plan, Telemetry, Watch, When

from .plans import build_check, build_plan, build_when
from .plans import build_job as make

OTHER = Command(argv=("false",))


def change_plan(world: SimulatedWorld, *jobs: Job, **fields: Any) -> SimulatedWorld:
    world.feed(PlanChanged(Plan(jobs=jobs, **fields)))
    return world


def get_phase(world: SimulatedWorld, name: str) -> job.Phase:
    return world.core.job_records[name].state.phase


def get_pid(world: SimulatedWorld, name: str) -> int | None:
    return world.core.job_records[name].state.pid


def list_starts(world: SimulatedWorld, name: str) -> list[float]:
    return [at for at, event in world.events if isinstance(event, events.JobStarted) and event.job == name]


def list_events(world: SimulatedWorld, kind: type[events.Event]) -> list[events.Event]:
    return [event for _, event in world.events if isinstance(event, kind)]


def test_unchanged_jobs_keep_their_pid():
    """A job that is the same in the new plan goes on untouched, whatever happens to its neighbours."""
    world = SimulatedWorld(build_plan(make("a"), make("b"))).run(1)
    was = get_pid(world, "a")
    change_plan(world, make("a"), Job(name="b", command=OTHER), make("c")).run(2)
    assert get_pid(world, "a") == was and len(list_starts(world, "a")) == 1
    assert len(list_starts(world, "b")) == 2 and len(list_starts(world, "c")) == 1


def test_a_changed_command_restarts_without_overlap():
    """The old process is gone before the new one starts, even when it is deaf to SIGTERM."""
    world = SimulatedWorld(build_plan(make("a")), {"a": Behaviour(ignores_signals=True)}).run(1)
    change_plan(world, Job(name="a", command=OTHER)).run(20)  # World asserts that no two runs overlap
    assert [round(at) for at in list_starts(world, "a")] == [0, 6]  # 5 s stop timeout, then SIGKILL
    assert list_events(world, events.PlanApplied)


def test_changed_rules_keep_the_process():
    """A rule that does not concern the process is in effect at once and restarts nothing."""
    world = SimulatedWorld(build_plan(make("a", health=build_check(10)))).run(1)
    was = get_pid(world, "a")
    change_plan(world, make("a", health=build_check(2, failures=3), restarts=None, timeout=30.0)).run(50)
    assert get_pid(world, "a") == was, "a timeout counts from the next run on"
    passed = [at for at, event in world.events if isinstance(event, events.CheckPassed)]
    assert len([at for at in passed if at > 10]) >= 19
    world.feed(RequestReceived("restart-job", "test", job="a"))
    world.run(90)
    assert list_events(world, events.JobTimedOut)


def test_a_removed_job_is_stopped_and_gone():
    """A removed job gets its usual stop, and then the core does not know it any more."""
    world = SimulatedWorld(build_plan(make("a"), make("b"))).run(1)
    change_plan(world, make("a")).run(2)
    assert "b" not in world.core.job_records and "b" not in world.live_runs
    assert world.finish is None


def test_an_essential_job_that_is_replaced_does_not_end_the_container():
    """The end of an essential job that the new plan replaces is no reason to leave."""
    world = SimulatedWorld(build_plan(make("a", essential=True))).run(1)
    change_plan(world, Job(name="a", command=OTHER, essential=True)).run(5)
    assert world.finish is None and get_phase(world, "a") is job.Phase.RUNNING


def test_a_new_job_gets_the_events_that_hold_already():
    """A job added later that waits for another's health runs when that one is healthy already."""
    world = SimulatedWorld(build_plan(make("a", health=build_check(1)))).run(5)
    change_plan(world, make("a", health=build_check(1)), make("b", when=build_when("a", "healthy"))).run(6)
    assert get_phase(world, "b") is job.Phase.RUNNING


def test_a_new_job_waits_for_events_that_do_not_hold():
    """An event that was before the job was there is not made up for it."""
    world = SimulatedWorld(build_plan(make("a"))).run(5)
    world.feed(cues.SignalArrived("SIGHUP"))
    change_plan(world, make("a"), make("b", when=build_when("SIGHUP", "SIGHUP"))).run(6)
    assert get_phase(world, "b") is job.Phase.WAITING
    world.feed(cues.SignalArrived("SIGHUP"))
    assert get_phase(world.run(7), "b") is job.Phase.RUNNING


def test_a_replaced_job_has_its_stop_hooks_each_time():
    """Pre-stop runs before the old process is asked to end, post-stop before the new one starts; and so each time."""
    before, behind = build_when("a", "stopping"), build_when("a", "stopped")
    jobs = (make("before", when=before), make("behind", when=behind))
    short = {"before": Behaviour(run_duration=lambda rng: 1.0), "behind": Behaviour(run_duration=lambda rng: 1.0)}
    world = SimulatedWorld(build_plan(make("a", stopping_wait=9.0), *jobs), short).run(1)
    for command, until in ((OTHER, 10), (Command(argv=("other",)), 20)):
        change_plan(world, Job(name="a", command=command, stopping_wait=9.0), *jobs).run(until)
    rounded = {name: [round(at) for at in list_starts(world, name)] for name in ("a", "before", "behind")}
    assert rounded == {"a": [0, 3, 12], "before": [1, 10], "behind": [2, 11]}


def test_a_removed_job_takes_its_stop_hook_with_it():
    """A pre-stop job that is removed together with its job still runs, once."""
    jobs = make("a", stopping_wait=9.0), make("before", when=build_when("a", "stopping")), make("b")
    world = SimulatedWorld(build_plan(*jobs), {"before": Behaviour(run_duration=lambda rng: 1.0)}).run(1)
    change_plan(world, make("b")).run(9)
    assert len(list_starts(world, "before")) == 1
    assert set(world.core.job_records) == {"b"} and list_events(world, events.PlanApplied)


def test_stop_hooks_delay_a_successor_for_a_while_only():
    """Pre- and post-stop jobs that never end have the stop's budget each, then the successor starts."""
    jobs = make("before", when=build_when("a", "stopping")), make("behind", when=build_when("a", "stopped"))
    world = SimulatedWorld(build_plan(make("a"), *jobs, stop_timeout=4.0)).run(1)
    change_plan(world, Job(name="a", command=OTHER), *jobs, stop_timeout=4.0).run(20)
    assert [round(at) for at in list_starts(world, "a")] == [0, 9]
    change_plan(world, stop_timeout=4.0).run(40)
    assert not world.core.job_records and not world.live_runs


def test_a_crash_loop_ends_with_the_corrected_command():
    """The corrected job does not wait for the back-off of the broken one."""
    broken = {"a": Behaviour(run_duration=lambda rng: 0.0, status=lambda rng: 1)}
    world = SimulatedWorld(build_plan(make("a", restarts=None), make("b")), broken).run(60)
    assert get_phase(world, "a") is job.Phase.BACKOFF
    world.behaviours["a"] = Behaviour()
    now = world.now
    change_plan(world, Job(name="a", command=OTHER, restarts=None), make("b")).run(now + 0.01)
    assert get_phase(world, "a") is job.Phase.RUNNING


def test_work_that_is_done_is_not_done_again():
    """A one-shot job that has run stays done when it has not changed; changed, it runs again."""
    once = {"setup": Behaviour(run_duration=lambda rng: 0.1)}
    world = SimulatedWorld(build_plan(make("setup"), make("a")), once).run(1)
    change_plan(world, make("setup"), make("a", raw=True)).run(2)
    assert len(list_starts(world, "setup")) == 1
    change_plan(world, Job(name="setup", command=OTHER), make("a")).run(3)
    assert len(list_starts(world, "setup")) == 2


def test_a_job_that_was_given_up_gets_its_chance():
    """A job that never ran because what it waited for could not happen any more waits for it anew."""
    fails = {"a": Behaviour(run_duration=lambda rng: 0.1, status=lambda rng: 1)}
    waits = make("b", when=build_when("a", "exitSuccess"))
    world = SimulatedWorld(build_plan(make("a"), waits, make("c")), fails).run(1)
    assert get_phase(world, "b") is job.Phase.DONE
    world.behaviours["a"] = Behaviour(run_duration=lambda rng: 0.1)
    change_plan(world, Job(name="a", command=OTHER), waits, make("c")).run(2)
    assert get_phase(world, "b") is job.Phase.RUNNING


def test_a_job_that_a_person_stopped_stays_stopped():
    """A reload is no order to start it; `start` runs what the new plan says."""
    world = SimulatedWorld(build_plan(make("a"), make("b"))).run(1)
    world.feed(RequestReceived("stop-job", "test", job="a"))
    world.run(2)
    change_plan(world, Job(name="a", command=OTHER), make("b")).run(3)
    assert get_phase(world, "a") is job.Phase.DONE
    world.feed(RequestReceived("start-job", "test", job="a"))
    assert get_phase(world.run(4), "a") is job.Phase.RUNNING


def test_a_job_that_is_stopped_while_it_is_replaced_stays_stopped():
    """A person's stop wins, whether it came before the reload or after it, and the work can be done."""
    for stop_first in (True, False):
        short = {"b": Behaviour(run_duration=lambda rng: 30.0), "a": Behaviour(ignores_signals=True)}
        world = SimulatedWorld(build_plan(make("a"), make("b")), short).run(1)
        steps = [
            lambda world=world: world.feed(RequestReceived("stop-job", "test", job="a")),
            lambda world=world: change_plan(world, Job(name="a", command=OTHER), make("b")),
        ]
        for step in steps if stop_first else reversed(steps):
            step()
        world.run(20)
        assert get_phase(world, "a") is job.Phase.DONE and len(list_starts(world, "a")) == 1
        assert world.core.job_records["a"].plan.command == OTHER


def test_a_health_check_goes_while_its_job_stops():
    """Without a check there is none to wait for, whatever the job is doing (no deadline stays in the past)."""
    world = SimulatedWorld(
        build_plan(make("a", health=build_check(1)), make("b")), {"a": Behaviour(ignores_signals=True)}
    ).run(3)
    world.feed(RequestReceived("restart-job", "test", job="a"))
    change_plan(world, make("a"), make("b")).run(60)
    assert get_phase(world, "a") is job.Phase.RUNNING and world.core.job_records["a"].health.deadline is None


def test_bounds_that_fall_due_together():
    """Two jobs whose stop hooks take too long at the same moment leave one after the other, and nothing is lost."""
    empty = Command(argv=())
    jobs = (
        Job(name="aa", command=empty, health=build_check(1)),
        Job(name="bb", command=empty, health=build_check(1)),
        make("p", when=build_when("aa", "stopping")),
        make("q", when=build_when("bb", "stopped")),
    )
    world = SimulatedWorld(build_plan(*jobs, make("keeper"))).run(3)
    change_plan(world, make("keeper")).run(60)
    assert set(world.core.job_records) == {"keeper"} and list_events(world, events.PlanApplied)


def test_what_was_seen_of_another_watch_does_not_count():
    """A job that waits for a watch that the same plan changed waits for what is seen of the new one."""
    watch = Watch(name="db", interval=1.0)
    world = SimulatedWorld(build_plan(make("a"), watches=(watch,))).run(1)
    world.feed(cues.WatchChanged("db", True))
    waits = make("b", when=build_when("watch.db", "healthy"))
    change_plan(world, make("a"), waits, watches=(replace(watch, tag="primary"),)).run(2)
    assert get_phase(world, "b") is job.Phase.WAITING
    world.feed(cues.WatchChanged("db", True))
    assert get_phase(world.run(3), "b") is job.Phase.RUNNING


def test_a_second_change_overtakes_the_first():
    """While a job is still stopping for one plan, the next plan decides what follows it."""
    world = SimulatedWorld(build_plan(make("a"), make("b")), {"a": Behaviour(ignores_signals=True)}).run(1)
    change_plan(world, Job(name="a", command=OTHER), make("b")).run(2)
    change_plan(world, make("b")).run(3)
    change_plan(world, Job(name="a", command=Command(argv=("third",))), make("b")).run(10)
    assert world.core.job_records["a"].plan.command.argv == ("third",) and len(list_starts(world, "a")) == 2


def test_a_stop_overtakes_a_change():
    """A shutdown that comes while jobs are being replaced ends them; no successor starts."""
    world = SimulatedWorld(build_plan(make("a")), {"a": Behaviour(ignores_signals=True)}).run(1)
    change_plan(world, Job(name="a", command=OTHER)).run(2)
    world.feed(RequestReceived("stop", "test"))
    world.run(60)
    assert world.finish is not None and len(list_starts(world, "a")) == 1


def test_the_lifetime_moves_with_its_plan():
    """The new length counts from the same beginning with the same draw; one that is over by then ends the life."""
    drain = Drain()
    world = SimulatedWorld(build_plan(make("a"), lifetime=Lifetime(drain=drain, max=1000.0, jitter=100.0))).run(10)
    assert world.core.lifetime.expires is not None
    share = (world.core.lifetime.expires - 1000) / 100
    change_plan(world, make("a"), lifetime=Lifetime(drain=drain, max=50.0, jitter=10.0)).run(20)
    assert world.core.lifetime.expires == pytest.approx(50 + 10 * share)
    change_plan(world, make("a"), lifetime=Lifetime(drain=drain, max=5.0)).run(21)
    assert world.finish is not None


def test_the_work_is_not_done_while_successors_are_to_come():
    """A container whose only job is being replaced does not leave."""
    world = SimulatedWorld(build_plan(make("a"))).run(1)
    change_plan(world, make("b")).run(2)
    assert world.finish is None and get_phase(world, "b") is job.Phase.RUNNING


# --- what may change ---

CONDOR = build_plan(make("m"), batch=Batch(system="htcondor", job="m", settings=BatchSettings()))


def test_the_batch_systems_process_is_never_restarted():
    """A new plan that would start condor_master another way, or remove it, is refused: payloads would die."""
    other = replace(CONDOR, jobs=(Job(name="m", command=OTHER),))
    assert "kill the payloads" in " ".join(plan_changes.list_refusals(CONDOR, other))
    assert "kill the payloads" in " ".join(plan_changes.list_refusals(CONDOR, replace(CONDOR, jobs=())))
    assert plan_changes.list_refusals(CONDOR, replace(CONDOR, jobs=(make("m", restarts=None), make("x")))) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"state": "/elsewhere"}, "state"),
        ({"socket": "/run/x"}, "control.socket"),
        ({"batch": Batch(system="htcondor", job="a", settings=BatchSettings())}, "htcondor"),
        ({"lifetime": Lifetime(drain=Drain(begin=OTHER))}, "lifetime.drain"),
    ],
)
def test_what_a_life_was_built_on_is_settled(fields, named):
    """A key that cannot change is refused by its name, with the remedy."""
    (sentence,) = plan_changes.list_refusals(build_plan(make("a")), build_plan(make("a"), **fields))
    assert sentence.startswith(named) and "autopilot drain" in sentence


def test_changes_are_named():
    """A reload reports the differences of the two plans."""
    old = build_plan(make("a"), make("b"), make("c"), make("d"))
    new = build_plan(
        make("a"), Job(name="b", command=OTHER), make("c", raw=True), make("e"), telemetry=Telemetry(port=1)
    )
    assert plan_changes.compare_plans(old, new) == plan_changes.Changes(("e",), ("b",), ("c",), ("d",), ("telemetry",))
    assert not plan_changes.compare_plans(old, old)


JOBS = st.lists(
    st.builds(
        Job,
        name=st.sampled_from("abcd"),
        command=st.sampled_from([Command(argv=("x",)), OTHER]),
        restarts=st.sampled_from([0, 2, None]),
        when=st.sampled_from([When(), When(every=3.0), When(each=True)]),
        health=st.sampled_from([None, build_check(1)]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda job: job.name,
)


@given(plans=st.lists(JOBS, min_size=2, max_size=5), pauses=st.lists(st.floats(0, 8), min_size=5, max_size=5))
def test_any_row_of_plans_ends_in_the_last(plans, pauses):
    """Whatever plans follow each other at whatever moments: in the end there are exactly the jobs of the last one, by
    its rules, never were two runs of one there at once, and each that should run does.
    """
    deaf = {"a": Behaviour(ignores_signals=True), "b": Behaviour(run_duration=lambda rng: rng.random() * 5)}
    world = SimulatedWorld(build_plan(*plans[0], make("keeper")), deaf)
    for jobs, pause in zip(plans[1:], pauses, strict=False):
        world.run(world.now + pause)
        change_plan(world, *jobs, make("keeper"))
    world.run(world.now + 60)
    assert world.finish is None
    assert [record.plan for record in world.core.job_records.values()] == [*plans[-1], make("keeper")]
    for name in {"a", "c", "d"} & {j.name for j in plans[-1]}:
        assert list_starts(world, name), f"{name} never ran"
    assert list_starts(world, "keeper") == [0.0]


def test_cron_comes_changes_and_goes():
    """A job gets times by a new plan, gets others by the next one, and none by the last."""
    minutely, hourly = (
        make("a", when=When(cron=cron, timezone="UTC"), restarts=None) for cron in ("* * * * *", "0 * * * *")
    )
    side, short = make("side"), {"a": Behaviour(run_duration=lambda rng: 1.0)}
    world = SimulatedWorld(build_plan(side), short).run(30)
    change_plan(world, side, minutely).run(200)
    assert [round(at) for at in list_starts(world, "a")] == [60, 120, 180]
    change_plan(world, side, hourly).run(4000)
    assert [round(at) for at in list_starts(world, "a")] == [60, 120, 180, 3600]
    change_plan(world, side).run(8000)
    assert len(list_starts(world, "a")) == 4


def test_a_job_loses_and_gets_its_process():
    """A job that is only checked gets a process by a new plan, and loses it by the next one."""
    without = make("a", command=Command(argv=()), health=build_check())
    world = SimulatedWorld(build_plan(without, make("side"))).run(30)
    assert get_phase(world, "a") is job.Phase.RUNNING and "a" not in world.live_runs
    change_plan(world, replace(without, command=OTHER), make("side")).run(60)
    assert "a" in world.live_runs
    change_plan(world, without, make("side")).run(90)
    assert get_phase(world, "a") is job.Phase.RUNNING and "a" not in world.live_runs
    world.feed(RequestReceived("stop", "somebody"))
    world.run(100)
    assert world.finish is not None
