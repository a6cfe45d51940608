"""What a user's plan does, under a virtual clock."""

from __future__ import annotations

import itertools

import pytest

from autopilot.machines import actions, cues, facts
from autopilot.runtime.world import Behaviour, World
from autopilot.spec.plan import Backoff, Drain, Htcondor, Lifetime, Stop, Trigger, When
from tests.machines.plans import after, check, job, plan

EXACT = Backoff(jitter=0.0)


def ends(seconds, status=0, **fields):
    return Behaviour(runs_for=lambda rng: seconds, status=lambda rng: status, **fields)


def test_all_jobs_over_ends_the_life():
    """When the last job is over the supervisor exits with 0."""
    world = World(plan(job("a"), job("b")), {"a": ends(1), "b": ends(2)}).run(10)
    assert world.finish.outcome == actions.Outcome("completed", "all jobs are over", 0)
    assert world.now == pytest.approx(2)


def test_exit_code_of_the_first_failure():
    """Without an essential job the first failing job of the file gives the exit code."""
    world = World(plan(job("a"), job("b"), job("c")), {"a": ends(2), "b": ends(3, 42), "c": ends(1, 7)}).run(10)
    assert world.finish.outcome.code == 42


def test_essential_job_ends_the_life():
    """An essential job's end stops everything else, and its status is the exit code."""
    world = World(plan(job("main", essential=True), job("side", restarts=None)), {"main": ends(5, 3)}).run(60)
    assert world.finish.outcome.code == 3
    assert world.finish.outcome.reason == "job-failed"
    assert world.times_of(facts.JobStopped, "side")


def test_startup_order_and_events():
    """A job that waits for another's `healthy` starts at that moment, not before."""
    world = World(plan(job("db", health=check()), job("web", when=after("db", "healthy")))).run(30)
    assert world.spawns("web") == world.times_of(facts.Healthy, "db")


def test_several_sources():
    """A job with several sources starts when the last of them has come, whatever their order."""
    both = When(triggers=(Trigger(source="a", event="exitSuccess"), Trigger(source="b", event="exitSuccess")))
    for a, b in ((1, 4), (4, 1)):
        world = World(plan(job("a"), job("b"), job("c", when=both)), {"a": ends(a), "b": ends(b)}).run(10)
        assert world.spawns("c") == [pytest.approx(4)]


def test_source_is_over_while_the_job_runs():
    """A job that waits again and again for one that is over by now waits no more, and the life ends."""
    jobs = (job("task"), job("echo", when=after("task", "exitSuccess", each=True)))
    world = World(plan(*jobs), {"task": ends(1), "echo": ends(5)}).run(60)
    assert world.finish.outcome.code == 0 and world.now == pytest.approx(6)


def test_delay_after_event():
    """`interval` beside `once` is a delay: the paper's 30 minutes after the first healthy."""
    world = World(plan(job("m", health=check(60)), job("off", when=after("m", "healthy", delay=1800)))).run(4000)
    healthy = world.times_of(facts.Healthy, "m")[0]
    assert world.spawns("off") == [pytest.approx(healthy + 1800)]


def test_wait_timeout():
    """A job gives up when its event does not come in time, and says so."""
    world = World(plan(job("a"), job("b", when=after("a", "exitFailed", timeout=5)))).run(20)
    assert world.times_of(facts.WaitTimedOut, "b") == [pytest.approx(5)]
    assert not world.spawns("b")


def test_hopeless_wait_is_abandoned():
    """A job that waits for what can never happen any more does not keep the container alive."""
    world = World(plan(job("a"), job("b", when=after("a", "exitFailed"))), {"a": ends(1)}).run(10)
    assert world.finish.outcome.code == 0
    assert world.times_of(facts.WaitAbandoned, "b")


def test_signal_job_does_not_hold_the_life():
    """A job that only waits for a signal neither keeps the container alive nor ends it."""
    hup = job("hup", when=After_HUP)
    world = World(plan(job("main"), hup), {"main": ends(5), "hup": ends(1)})
    world.run(2)
    world.feed(cues.SignalCame("SIGHUP"))
    world.feed(cues.SignalCame("SIGHUP"))
    world.run(20)
    assert world.spawns("hup") == [pytest.approx(2), pytest.approx(3)], "an event while it runs is not lost"
    assert world.finish is not None


After_HUP = When(triggers=(Trigger(source="SIGHUP", event="signal"),), each=True)


def test_each_event_while_running_runs_once_more():
    """Events of an `each` job that come while it runs lead to one more run, not to none and not to many."""
    world = World(plan(job("main"), job("hup", when=After_HUP)), {"hup": ends(5)})
    for _ in range(4):
        world.feed(cues.SignalCame("SIGHUP"))
    world.run(60)
    assert len(world.spawns("hup")) == 2


def test_backoff_grows_and_resets():
    """Restarts are spaced by a growing delay with a cap; a long run ends the streak."""
    lengths = iter([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 100.0, 0.1])
    flaky = Behaviour(runs_for=lambda rng: next(lengths, 1e9), status=lambda rng: 1)
    world = World(plan(job("a", restarts=None, backoff=EXACT)), {"a": flaky}).run(1000)
    delays = [round(fact.delay, 3) for _, fact in world.facts if isinstance(fact, facts.RestartScheduled)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 0.5, 1]
    assert len(world.times_of(facts.CrashLoopSeen, "a")) == 1


def test_restarts_are_counted():
    """`restarts: 2` means three runs in all."""
    world = World(plan(job("a", restarts=2, backoff=EXACT)), {"a": ends(1, 1)}).run(100)
    assert len(world.spawns("a")) == 3


def test_periodic_runs_keep_their_grid():
    """A periodic job starts on its grid; a run longer than the period skips and says how many."""
    lengths = iter([1, 25, 1])
    slow = Behaviour(runs_for=lambda rng: next(lengths, 1))
    world = World(plan(job("a", when=When(every=10), restarts=None)), {"a": slow}).run(65)
    assert world.spawns("a") == [pytest.approx(t) for t in (0, 10, 40, 50, 60)]
    assert [fact.count for _, fact in world.facts if isinstance(fact, facts.RunsSkipped)] == [2]


def test_periodic_with_restarts():
    """With an interval `restarts` says how many more runs there are."""
    world = World(plan(job("a", when=When(every=10), restarts=2)), {"a": ends(1)}).run(100)
    assert len(world.spawns("a")) == 3
    assert world.finish is not None


def test_run_timeout_kills():
    """A run longer than its `timeout` is killed, wherever it hides, and counts as failed."""
    world = World(plan(job("a", timeout=3)), {"a": Behaviour(deaf=True)}).run(10)
    assert world.times_of(facts.JobTimedOut, "a") == [pytest.approx(3)]
    assert world.finish.outcome.code == 137


def test_next_run_waits_for_an_empty_job():
    """A restart waits until no process of the run before is left."""
    world = World(
        plan(job("a", restarts=1, backoff=EXACT, stop=Stop(timeout=4))), {"a": ends(1, 1, leaves=2, deaf=True)}
    )
    world.run(7)
    assert world.spawns("a") == [pytest.approx(0), pytest.approx(1 + 4 + 0.5, abs=0.01)]


def test_health_starting_is_quick():
    """With an interval of 60 s a job that is ready after 2 s is known to be healthy within 4 s."""
    world = World(plan(job("a", health=check(60))))
    world.behaviours["a"] = Behaviour(check=lambda rng: world.now > 2)
    world.run(300)
    assert 2 < world.times_of(facts.Healthy, "a")[0] < 4
    assert not world.times_of(facts.Unhealthy, "a")


def test_health_thresholds():
    """Unhealthy comes after `failures` bad checks in a row, healthy after `successes` good ones, each said once."""
    bad_from, bad_to = 100, 160
    world = World(plan(job("a", health=check(10, failures=3, successes=2))))
    world.behaviours["a"] = Behaviour(check=lambda rng: not bad_from <= world.now < bad_to)
    world.run(400)
    assert len(world.times_of(facts.Unhealthy, "a")) == 1
    assert 120 <= world.times_of(facts.Unhealthy, "a")[0] < 140
    assert len(world.times_of(facts.Healthy, "a")) == 2


def test_checks_never_overlap():
    """A check that is slower than its interval never runs twice at once, and what it skipped is counted."""
    slow = Behaviour(check_takes=8.0)
    world = World(plan(job("a", health=check(1, timeout=20, ttl=60))), {"a": slow}).run(60)
    starts = [t for t, action in world.actions if isinstance(action, actions.RunCheck)]
    assert all(b - a >= 8 for a, b in itertools.pairwise(starts))
    assert sum(fact.count for _, fact in world.facts if isinstance(fact, facts.ChecksSkipped)) > 30


def test_hung_check_is_dropped():
    """A check that never answers fails at its timeout and is dropped."""
    world = World(plan(job("a", health=check(10, timeout=2))), {"a": Behaviour(check=lambda rng: None)}).run(30)
    assert world.times_of(facts.Unhealthy, "a")
    assert any(isinstance(action, actions.DropCheck) for _, action in world.actions)


@pytest.mark.parametrize(
    ("on_failure", "reason", "code"), [("shutdown", "check-failed", 69), ("drain", "check-failed", 0)]
)
def test_on_failure_ends_the_life(on_failure, reason, code):
    """A failing check may end the life, by a shutdown or by a drain."""
    sick = Behaviour(check=lambda rng: False)
    world = World(plan(job("a", health=check(10, on_failure=on_failure))), {"a": sick}).run(100)
    assert (world.finish.outcome.reason, world.finish.outcome.code) == (reason, code)


def test_on_failure_restarts():
    """A failing check may restart the job, which gets a new grace."""
    sick = Behaviour(check=lambda rng: False)
    world = World(plan(job("a", health=check(10, on_failure="restart"))), {"a": sick}).run(35)
    assert len(world.spawns("a")) >= 3
    assert world.finish is None


def test_ordered_stop():
    """Jobs of a lower order are gone before those of a higher one are asked; no fixed sleep anywhere."""
    world = World(plan(job("agent", stop=Stop(order=9)), job("a"), job("b", stop=Stop(order=1)))).run(5)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(20)
    gone = {name: world.times_of(facts.JobStopped, name)[0] for name in ("a", "b", "agent")}
    asked = {name: world.times_of(facts.JobStopping, name)[0] for name in ("a", "b", "agent")}
    assert asked["b"] >= gone["a"] and asked["agent"] >= gone["b"]
    assert world.now < 5.1


def test_stop_escalates_and_kills():
    """A job gets its further signals in time, then SIGKILL at its timeout."""
    stop = Stop(signal=2, timeout=4, escalate=((1.0, 2), (2.0, 3)))
    world = World(plan(job("a", stop=stop)), {"a": Behaviour(deaf=True)}).run(1)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(60)
    sent = [(round(t, 2), a.signal) for t, a in world.actions if isinstance(a, actions.Signal)]
    assert sent == [(1, 2), (2, 2), (3, 3)]
    assert [round(t, 2) for t, a in world.actions if isinstance(a, actions.Kill)] == [5]


def test_second_sigterm_hurries():
    """A second SIGTERM kills at once what is left."""
    world = World(plan(job("a", stop=Stop(timeout=60)), stop_timeout=60), {"a": Behaviour(deaf=True)}).run(1)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(2)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(100)
    assert world.now < 2.1
    assert world.finish.outcome.code == 0


def test_hurried_job_gets_its_last_signal_first():
    """condor_master gets its SIGQUIT and a moment before SIGKILL, also when the stop is hurried."""
    stop = Stop(timeout=60, group=False, escalate=((50, 3),))
    world = World(plan(job("a", stop=stop), stop_timeout=60), {"a": Behaviour(deaf=True)}).run(1)
    for _ in range(2):
        world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(100)
    sent = [(round(t, 1), type(a).__name__) for t, a in world.actions if isinstance(a, actions.Signal | actions.Kill)]
    assert sent == [(1.0, "Signal"), (1.0, "Signal"), (2.0, "Kill")]


def test_stop_budget():
    """When the stop's budget is spent all that is left is killed, and the life ends."""
    world = World(plan(job("a", stop=Stop(timeout=60)), stop_timeout=7), {"a": Behaviour(deaf=True)}).run(1)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(100)
    assert world.now == pytest.approx(8, abs=0.1)


def test_undying_job_cannot_hold_the_end():
    """A process that not even SIGKILL ends does not keep the supervisor: it leaves and names the job."""
    world = World(plan(job("a"), stop_timeout=5), {"a": Behaviour(deaf=True)})
    world._end = lambda *args: None  # type: ignore[method-assign]
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(100)
    assert world.finish.stragglers == ("a",)


def test_prestop_and_poststop_jobs():
    """A pre-stop job runs before its source is signalled, a post-stop job after it is gone; both within the stop."""
    main, pre, post = (
        job("main"),
        job("pre", when=after("main", "stopping")),
        job("post", when=after("main", "stopped")),
    )
    world = World(plan(main, pre, post, stop_timeout=30), {"pre": ends(2), "post": ends(1)}).run(5)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(60)
    signalled = [t for t, a in world.actions if isinstance(a, actions.Signal) and a.job == "main"]
    assert world.spawns("pre") == [pytest.approx(5)]
    assert signalled == [pytest.approx(7)]
    assert world.spawns("post") == [pytest.approx(7.01)]
    assert world.now == pytest.approx(8.01)


def test_several_prestop_jobs_are_all_waited_for():
    """Of several pre-stop jobs of one source every one is waited for."""
    pres = [job(f"pre{n}", when=after("main", "stopping")) for n in (3, 1, 2)]
    world = World(plan(job("main"), *pres, stop_timeout=30), {f"pre{n}": ends(n) for n in (3, 1, 2)}).run(5)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(60)
    assert [t for t, a in world.actions if isinstance(a, actions.Signal)] == [pytest.approx(8)]


def test_stopping_wait_is_bounded():
    """A pre-stop job that hangs holds its source no longer than the source's own limit."""
    world = World(plan(job("main", stopping_wait=3), job("pre", when=after("main", "stopping")), stop_timeout=30))
    world.run(5)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(60)
    assert [t for t, a in world.actions if isinstance(a, actions.Signal) and a.job == "main"] == [pytest.approx(8)]


def test_shutdown_job():
    """A job that waits for the supervisor's `shutdown` runs within the stop."""
    world = World(plan(job("main"), job("bye", when=after("", "shutdown"))), {"bye": ends(1)}).run(5)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(60)
    assert world.spawns("bye") == [pytest.approx(5)]
    assert world.finish is not None


CONDOR = job("master", essential=True, restarts=None, stop=Stop(group=False, timeout=30), health=check(15))


def node(**lifetime):
    return plan(
        CONDOR,
        htcondor=Htcondor(job="master"),
        lifetime=Lifetime(drain=Drain(htcondor=True), after=Trigger(source="master", event="healthy"), **lifetime),
        stop_timeout=30,
    )


def test_lifetime_ends_peacefully():
    """A life that is over drains, waits for the payload however long it takes, then stops and exits 0."""
    world = World(node(max=100), drain_takes=5000).run(10000)
    begun = [t for t, a in world.actions if isinstance(a, actions.BeginDrain)]
    healthy = world.times_of(facts.Healthy, "master")[0]
    assert begun == [pytest.approx(healthy + 100)]
    assert not any(isinstance(a, actions.Evict | actions.SoftenDrain) for _, a in world.actions)
    assert world.finish.outcome == actions.Outcome("lifetime", "drained", 0)
    assert world.now == pytest.approx(begun[0] + 5000, abs=0.1)


def test_lifetime_draws_its_jitter_once():
    """The length of a life is drawn once, between max and max + jitter."""
    drawn = set()
    for seed in range(30):
        world = World(node(max=100, jitter=50), seed=seed).run(10000)
        begun = [fact.seconds for _, fact in world.facts if isinstance(fact, facts.LifetimeBegun)]
        assert len(begun) == 1 and 100 <= begun[0] <= 150
        drawn.add(round(begun[0]))
    assert len(drawn) > 10


def test_deadline_soft_then_hard():
    """At the deadline payloads are asked to end, after the grace they are killed, and the end is recorded as forced."""
    world = World(node(max=100, deadline=50, grace=20), drain_takes=None).run(10000)
    soft = [t for t, a in world.actions if isinstance(a, actions.SoftenDrain)]
    hard = [t for t, a in world.actions if isinstance(a, actions.HardenDrain)]
    begun = [t for t, a in world.actions if isinstance(a, actions.BeginDrain)]
    assert soft == [pytest.approx(begun[0] + 50)] and hard == [pytest.approx(soft[0] + 20)]
    assert (world.finish.outcome.reason, world.finish.outcome.code) == ("lifetime", 75)


def test_idle_end():
    """A node on which nothing has run for long enough ends before its lifetime, a busy one does not."""
    world = World(node(max=10000, idle=100)).run(50)
    world.feed(cues.PayloadsSeen(("1.0",)))
    world.run(5000)
    assert world.finish is None
    world.feed(cues.PayloadsSeen(()))
    world.run(9999)
    assert world.finish.outcome.reason == "idle"
    assert world.now == pytest.approx(5100, abs=0.1)


def test_drain_by_command_with_deadline():
    """`autopilot drain --deadline` enters the same path, and asked again with another deadline, that one counts."""
    world = World(node(), drain_takes=None).run(10)
    world.feed(cues.Asked("drain", "autopilot drain", deadline=1000))
    world.run(20)
    world.feed(cues.Asked("drain", "autopilot drain", deadline=5))
    world.run(10000)
    assert [t for t, a in world.actions if isinstance(a, actions.SoftenDrain)] == [pytest.approx(25)]
    assert world.finish.outcome.reason == "drain"


def test_sigterm_stop_evicts():
    """SIGTERM with `on_sigterm: stop` has the batch system give its payloads back before its master is stopped."""
    world = World(node()).run(10)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(100)
    sent = [(round(t, 1), type(a).__name__) for t, a in world.actions if isinstance(a, actions.Evict | actions.Signal)]
    assert sent == [(10.0, "Evict"), (10.4, "Signal")]
    assert world.finish.outcome.code == 0


def test_sigterm_drain():
    """SIGTERM with `on_sigterm: drain` drains; a second one stops; a third kills."""
    from dataclasses import replace

    world = World(replace(node(), on_sigterm="drain"), {"master": Behaviour(deaf=True)}, drain_takes=None).run(10)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(1000)
    assert any(isinstance(a, actions.BeginDrain) for _, a in world.actions) and world.finish is None
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(1001)
    assert any(isinstance(a, actions.Evict) for _, a in world.actions)
    world.feed(cues.Asked("terminate", "SIGTERM"))
    world.run(1002)
    assert world.finish.outcome.reason == "signal"


def test_drained_by_somebody_else():
    """A node that somebody else drained (condor_off by hand, or the paper's own job) ends its life in order."""
    world = World(node(max=1000)).run(50)
    world.feed(cues.Drained())
    world.run(100)
    assert world.finish.outcome == actions.Outcome("drain", "drained", 0)
    assert not any(isinstance(action, actions.Evict | actions.BeginDrain) for _, action in world.actions)


def test_master_that_ends_itself_while_draining():
    """HTCondor's drain of the whole master ends it with 0: that is the drain's end, and it is not started again."""
    world = World(node(max=10), {"master": ends(500)}, drain_takes=None).run(10000)
    assert len(world.spawns("master")) == 1
    assert world.finish.outcome == actions.Outcome("lifetime", "drained", 0)


def test_master_that_dies_while_draining():
    """A master that is killed while it drains is a failure, not a drain's end."""
    world = World(node(max=10), {"master": ends(500, 137)}, drain_takes=None).run(10000)
    assert (world.finish.outcome.reason, world.finish.outcome.code) == ("job-failed", 137)


def test_good_after_being_healthy_for_long_enough():
    """A life is good once it has been healthy for `healthy_for` without a break, and not before."""
    world = World(plan(job("a", health=check(10)), healthy_for=120))
    world.behaviours["a"] = Behaviour(check=lambda rng: not 100 <= world.now < 130)
    world.run(1000)
    good = world.times_of(facts.ProvedGood)
    assert len(good) == 1 and 250 <= good[0] <= 262


def test_failing_job_is_never_good():
    """A life whose job keeps crashing is never good."""
    world = World(plan(job("a", restarts=None)), {"a": ends(1, 1)}).run(1000)
    assert not world.times_of(facts.ProvedGood)


def test_stopped_by_a_person():
    """A job stopped by a person keeps the container alive and can be started again."""
    world = World(plan(job("a"))).run(5)
    world.feed(cues.Asked("stop-job", "autopilot stop", job="a"))
    world.run(50)
    assert world.finish is None
    world.feed(cues.Asked("start-job", "autopilot start", job="a"))
    world.run(60)
    assert len(world.spawns("a")) == 2


def test_out_of_memory_is_a_reason_of_its_own():
    """An essential job that the kernel killed for want of memory gives its reason to the last words."""
    world = World(plan(job("a", essential=True))).run(5)
    world.feed(cues.Exited("a", 1, 137, oom=True))
    assert (world.finish.outcome.reason, world.finish.outcome.code) == ("oom", 137)


def test_an_unhealthy_job_that_is_being_stopped_does_not_come_back():
    """A check that fails while a job takes its time to end is no reason to start it again."""
    sick = job("a", health=check(0.5, on_failure="restart"))
    world = World(plan(sick, job("b")), {"a": Behaviour(deaf=True, check=lambda rng: False)}).run(0.1)
    world.feed(cues.Asked("stop-job", "test", job="a"))
    world.run(60)
    assert world.core.units["a"].over and len(world.spawns("a")) == 1


def test_on_failure_restarts_until_success():
    """A job that restarts on failure comes back after an error, and is over with its first success."""
    statuses = iter([1, 137, 0])
    world = World(
        plan(job("a", restarts=None, restart_after_success=False), job("b")),
        {"a": Behaviour(runs_for=lambda rng: 1.0, status=lambda rng: next(statuses))},
    ).run(100)
    assert len(world.spawns("a")) == 3
    assert world.core.units["a"].over


def test_job_that_waits_to_be_asked():
    """A job with `asked` runs when somebody starts it, also again, and keeps no container alive."""
    waiting = job("a", when=after("", "asked"), restarts=None)
    world = World(plan(waiting, job("b"))).run(10)
    assert world.spawns("a") == []
    world.feed(cues.Asked("start-job", "test", job="a"))
    world.run(20)
    assert "a" in world.live
    world.feed(cues.Asked("stop-job", "test", job="a"))
    world.run(30)
    world.feed(cues.Asked("start-job", "test", job="a"))
    assert len(world.run(40).spawns("a")) == 2
    alone = World(plan(waiting, job("b")), {"b": Behaviour(runs_for=lambda rng: 1.0)}).run(10)
    assert alone.finish is not None and alone.finish.outcome.code == 0
