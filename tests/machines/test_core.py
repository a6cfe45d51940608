"""Lives of plans as users write them, under a virtual clock."""

from __future__ import annotations

import itertools

import pytest

from autopilot.machines import actions, cues, events
from autopilot.runtime.simulated_world import Behaviour, SimulatedWorld
from autopilot.spec.plan import Backoff, Batch, BatchSettings, Command, Drain, Lifetime, Stop, Trigger, When
from tests.machines.plans import build_check, build_job, build_plan, build_when, get_finish

EXACT = Backoff(jitter=0.0)


def build_ending_behaviour(seconds, status=0, **fields):
    return Behaviour(run_duration=lambda rng: seconds, status=lambda rng: status, **fields)


def test_all_jobs_over_ends_the_life():
    """The supervisor exits with 0 after the end of the last job."""
    world = SimulatedWorld(
        build_plan(build_job("a"), build_job("b")), {"a": build_ending_behaviour(1), "b": build_ending_behaviour(2)}
    ).run(10)
    assert get_finish(world).outcome == actions.Outcome("completed", "all jobs are over", 0)
    assert world.now == pytest.approx(2)


def test_exit_code_of_the_first_failure():
    """Without an essential job the first failing job of the file gives the exit code."""
    world = SimulatedWorld(
        build_plan(build_job("a"), build_job("b"), build_job("c")),
        {"a": build_ending_behaviour(2), "b": build_ending_behaviour(3, 42), "c": build_ending_behaviour(1, 7)},
    ).run(10)
    assert get_finish(world).outcome.code == 42


def test_essential_job_ends_the_life():
    """An essential job's end stops everything else, and its status is the exit code."""
    world = SimulatedWorld(
        build_plan(build_job("main", essential=True), build_job("side", restarts=None)),
        {"main": build_ending_behaviour(5, 3)},
    ).run(60)
    assert get_finish(world).outcome.code == 3
    assert get_finish(world).outcome.reason == "job-failed"
    assert world.list_times(events.JobStopped, "side")


def test_startup_order_and_events():
    """A job that waits for another's `healthy` starts at that moment, not before."""
    world = SimulatedWorld(
        build_plan(build_job("db", health=build_check()), build_job("web", when=build_when("db", "healthy")))
    ).run(30)
    assert world.list_spawn_times("web") == world.list_times(events.Healthy, "db")


def test_several_sources():
    """A job with several sources starts when the last of them has come, whatever their order."""
    both = When(triggers=(Trigger(source="a", event="exitSuccess"), Trigger(source="b", event="exitSuccess")))
    for a, b in ((1, 4), (4, 1)):
        world = SimulatedWorld(
            build_plan(build_job("a"), build_job("b"), build_job("c", when=both)),
            {"a": build_ending_behaviour(a), "b": build_ending_behaviour(b)},
        ).run(10)
        assert world.list_spawn_times("c") == [pytest.approx(4)]


def test_source_is_over_while_the_job_runs():
    """A job that waits again and again for one that is over by now waits no more, and the life ends."""
    jobs = (build_job("task"), build_job("echo", when=build_when("task", "exitSuccess", each=True)))
    world = SimulatedWorld(
        build_plan(*jobs), {"task": build_ending_behaviour(1), "echo": build_ending_behaviour(5)}
    ).run(60)
    assert get_finish(world).outcome.code == 0 and world.now == pytest.approx(6)


def test_delay_after_event():
    """`interval` beside `once` is a delay: the paper's 30 minutes after the first healthy."""
    world = SimulatedWorld(
        build_plan(
            build_job("m", health=build_check(60)), build_job("off", when=build_when("m", "healthy", delay=1800))
        )
    ).run(4000)
    healthy = world.list_times(events.Healthy, "m")[0]
    assert world.list_spawn_times("off") == [pytest.approx(healthy + 1800)]


def test_wait_timeout():
    """A job gives up when its event does not come in time, and says so."""
    world = SimulatedWorld(
        build_plan(build_job("a"), build_job("b", when=build_when("a", "exitFailed", timeout=5)))
    ).run(20)
    assert world.list_times(events.WaitTimedOut, "b") == [pytest.approx(5)]
    assert not world.list_spawn_times("b")


def test_hopeless_wait_is_abandoned():
    """A job that waits for what can never happen any more does not keep the container alive."""
    world = SimulatedWorld(
        build_plan(build_job("a"), build_job("b", when=build_when("a", "exitFailed"))), {"a": build_ending_behaviour(1)}
    ).run(10)
    assert get_finish(world).outcome.code == 0
    assert world.list_times(events.WaitAbandoned, "b")


NEVER_RAN = {
    "abandoned": (build_when("setup", "exitSuccess"), "it waited for setup exitSuccess, and setup ended with 3"),
    "abandoned, without a status": (build_when("asleep", "healthy"), "it waited for asleep healthy, and asleep never"),
    "abandoned, one of several": (
        When(triggers=(Trigger(source="setup", event="exitFailed"), Trigger(source="asleep", event="healthy"))),
        "it waited for asleep healthy, and asleep never ran: it waited for setup exitSuccess, and setup ended with 3",
    ),
    "timed out": (build_when("db", "healthy", timeout=5), "it waited 5 s for db healthy"),
    "timed out on a watch": (build_when("watch.db", "healthy", timeout=5), "it waited 5 s for watch.db healthy"),
}


def build_never_ran_world(when, *, essential):
    asleep = build_job("asleep", when=build_when("setup", "exitSuccess"))
    side = (build_job("setup"), asleep, build_job("db", restarts=None)) if essential else ()
    return SimulatedWorld(
        build_plan(*side, build_job("main", essential=essential, when=when)), {"setup": build_ending_behaviour(1, 3)}
    ).run(20)


@pytest.mark.parametrize(("when", "cause"), NEVER_RAN.values(), ids=NEVER_RAN)
def test_an_essential_job_that_never_ran_is_a_failure(when, cause):
    """A life whose essential job never ran ends as failed, with a code of its own and the cause."""
    outcome = build_never_ran_world(when, essential=True).finish.outcome
    assert (outcome.reason, outcome.code) == ("job-failed", 1)
    assert outcome.detail.startswith(f"essential job main never ran: {cause}")


def test_the_cause_of_many_jobs_that_never_ran_is_short():
    """Jobs that all wait for all others before them give one sentence that a person can read."""
    names = [f"j{number}" for number in range(30)]
    waiting = (
        build_job(name, when=When(triggers=tuple(Trigger(source=one, event="exitSuccess") for one in names[:number])))
        for number, name in enumerate(names)
        if number
    )
    main = build_job("main", essential=True, when=build_when(names[-1], "exitSuccess"))
    world = SimulatedWorld(build_plan(build_job("j0"), *waiting, main), {"j0": build_ending_behaviour(1, 3)}).run(20)
    detail = get_finish(world).outcome.detail
    assert "j0 ended with 3" in detail and len(detail) < 10_000


def test_an_essential_job_whose_cron_has_no_time_is_a_failure(monkeypatch):
    """A job whose calendar has no time left never ran, as one that waited in vain."""
    monkeypatch.setattr("autopilot.runtime.simulated_world.find_next_time", lambda when, after: None)
    outcome = build_never_ran_world(When(cron="0 0 29 2 *"), essential=True).finish.outcome
    assert (outcome.reason, outcome.code) == ("job-failed", 1)
    assert "never ran: it waited for a time of its cron '0 0 29 2 *', and there is none" in outcome.detail


def test_a_life_in_which_nothing_ran_is_a_failure():
    """A life ends as failed when every job gave up its wait, essential or not."""
    when, cause = NEVER_RAN["timed out on a watch"]
    outcome = build_never_ran_world(when, essential=False).finish.outcome
    assert outcome == actions.Outcome("job-failed", f"no job ever ran: main: {cause}", 1)


@pytest.mark.parametrize("when", [build_when("side", "exitFailed"), When()], ids=["waiting", "in its back-off"])
def test_an_essential_job_that_an_operator_stops_is_no_failure(when):
    """An essential job without a process that an operator stops ends the life with 0."""
    main = build_job("main", essential=True, restarts=None, when=when, backoff=Backoff(initial=60.0))
    world = SimulatedWorld(build_plan(build_job("side"), main), {"main": build_ending_behaviour(1, 3)}).run(10)
    world.feed(cues.RequestReceived("stop-job", "operator", job="main"))
    assert get_finish(world.run(20)).outcome == actions.Outcome("completed", "essential job main is over", 0)


def test_signal_job_does_not_hold_the_life():
    """A job that only waits for a signal neither keeps the container alive nor ends it."""
    hup = build_job("hup", when=AFTER_HUP)
    world = SimulatedWorld(
        build_plan(build_job("main"), hup), {"main": build_ending_behaviour(5), "hup": build_ending_behaviour(1)}
    )
    world.run(2)
    world.feed(cues.SignalArrived("SIGHUP"))
    world.feed(cues.SignalArrived("SIGHUP"))
    world.run(20)
    assert world.list_spawn_times("hup") == [pytest.approx(2), pytest.approx(3)], "an event while it runs is not lost"
    assert world.finish is not None


AFTER_HUP = When(triggers=(Trigger(source="SIGHUP", event="signal"),), each=True)


def test_each_event_while_running_runs_once_more():
    """Events of an `each` job that come while it runs lead to one more run, not to none and not to many."""
    world = SimulatedWorld(
        build_plan(build_job("main"), build_job("hup", when=AFTER_HUP)), {"hup": build_ending_behaviour(5)}
    )
    for _ in range(4):
        world.feed(cues.SignalArrived("SIGHUP"))
    world.run(60)
    assert len(world.list_spawn_times("hup")) == 2


def test_backoff_grows_and_resets():
    """Restarts are spaced by a growing delay with a cap; a long run ends the streak."""
    lengths = iter([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 100.0, 0.1])
    flaky = Behaviour(run_duration=lambda rng: next(lengths, 1e9), status=lambda rng: 1)
    world = SimulatedWorld(build_plan(build_job("a", restarts=None, backoff=EXACT)), {"a": flaky}).run(1000)
    delays = [round(event.delay, 3) for _, event in world.events if isinstance(event, events.RestartScheduled)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 0.5, 1]
    assert len(world.list_times(events.CrashLoopDetected, "a")) == 1


def test_restarts_are_counted():
    """`restarts: 2` means three runs in all."""
    world = SimulatedWorld(
        build_plan(build_job("a", restarts=2, backoff=EXACT)), {"a": build_ending_behaviour(1, 1)}
    ).run(100)
    assert len(world.list_spawn_times("a")) == 3


def test_periodic_runs_keep_their_grid():
    """A periodic job starts on its grid; a run longer than the period skips and says how many."""
    lengths = iter([1, 25, 1])
    slow = Behaviour(run_duration=lambda rng: next(lengths, 1))
    world = SimulatedWorld(build_plan(build_job("a", when=When(every=10), restarts=None)), {"a": slow}).run(65)
    assert world.list_spawn_times("a") == [pytest.approx(t) for t in (0, 10, 40, 50, 60)]
    assert [event.count for _, event in world.events if isinstance(event, events.RunsSkipped)] == [2]


def test_periodic_with_restarts():
    """With an interval `restarts` says how many more runs there are."""
    world = SimulatedWorld(
        build_plan(build_job("a", when=When(every=10), restarts=2)), {"a": build_ending_behaviour(1)}
    ).run(100)
    assert len(world.list_spawn_times("a")) == 3
    assert world.finish is not None


def test_run_timeout_kills():
    """A run longer than its `timeout` is killed, wherever it hides, and counts as failed."""
    world = SimulatedWorld(build_plan(build_job("a", timeout=3)), {"a": Behaviour(ignores_signals=True)}).run(10)
    assert world.list_times(events.JobTimedOut, "a") == [pytest.approx(3)]
    assert get_finish(world).outcome.code == 137


def test_next_run_waits_for_an_empty_job():
    """A restart waits until no process of the run before is left."""
    world = SimulatedWorld(
        build_plan(build_job("a", restarts=1, backoff=EXACT, stop=Stop(timeout=4))),
        {"a": build_ending_behaviour(1, 1, leftovers=2, ignores_signals=True)},
    )
    world.run(7)
    assert world.list_spawn_times("a") == [pytest.approx(0), pytest.approx(1 + 4 + 0.5, abs=0.01)]


def test_health_starting_is_quick():
    """With an interval of 60 s a job that is ready after 2 s is known to be healthy within 4 s."""
    world = SimulatedWorld(build_plan(build_job("a", health=build_check(60))))
    world.behaviours["a"] = Behaviour(check=lambda rng: world.now > 2)
    world.run(300)
    assert 2 < world.list_times(events.Healthy, "a")[0] < 4
    assert not world.list_times(events.Unhealthy, "a")


def test_health_thresholds():
    """Unhealthy comes after `failures` bad checks in a row, healthy after `successes` good ones, each said once."""
    bad_from, bad_to = 100, 160
    world = SimulatedWorld(build_plan(build_job("a", health=build_check(10, failures=3, successes=2))))
    world.behaviours["a"] = Behaviour(check=lambda rng: not bad_from <= world.now < bad_to)
    world.run(400)
    assert len(world.list_times(events.Unhealthy, "a")) == 1
    assert 120 <= world.list_times(events.Unhealthy, "a")[0] < 140
    assert len(world.list_times(events.Healthy, "a")) == 2


def test_checks_never_overlap():
    """A check that is slower than its interval never runs twice at once, and what it skipped is counted."""
    slow = Behaviour(check_duration=8.0)
    world = SimulatedWorld(build_plan(build_job("a", health=build_check(1, timeout=20, ttl=60))), {"a": slow}).run(60)
    starts = [t for t, action in world.actions if isinstance(action, actions.RunCheck)]
    assert all(b - a >= 8 for a, b in itertools.pairwise(starts))
    assert sum(event.count for _, event in world.events if isinstance(event, events.ChecksSkipped)) > 30


def test_hung_check_is_dropped():
    """A check that never answers fails at its timeout and is dropped."""
    world = SimulatedWorld(
        build_plan(build_job("a", health=build_check(10, timeout=2))), {"a": Behaviour(check=lambda rng: None)}
    ).run(30)
    assert world.list_times(events.Unhealthy, "a")
    assert any(isinstance(action, actions.CancelCheck) for _, action in world.actions)


@pytest.mark.parametrize(
    ("on_failure", "reason", "code"), [("shutdown", "check-failed", 69), ("drain", "check-failed", 0)]
)
def test_on_failure_ends_the_life(on_failure, reason, code):
    """A failing check may end the life, by a shutdown or by a drain."""
    sick = Behaviour(check=lambda rng: False)
    world = SimulatedWorld(build_plan(build_job("a", health=build_check(10, on_failure=on_failure))), {"a": sick}).run(
        100
    )
    assert (get_finish(world).outcome.reason, get_finish(world).outcome.code) == (reason, code)


def test_on_failure_restarts():
    """A failing check may restart the job, which gets a new grace."""
    sick = Behaviour(check=lambda rng: False)
    world = SimulatedWorld(build_plan(build_job("a", health=build_check(10, on_failure="restart"))), {"a": sick}).run(
        35
    )
    assert len(world.list_spawn_times("a")) >= 3
    assert world.finish is None


@pytest.mark.parametrize("restarted_by", ["exit", "check", "template"])
def test_all_restarts_share_one_back_off(restarted_by):
    """The runs of a job that is restarted again and again come ever more rarely, and the crash loop is named once."""
    check = build_check(0.2, on_failure="restart") if restarted_by == "check" else None
    endless = build_job("a", health=check, restarts=None if restarted_by == "exit" else 0)
    behaviour = Behaviour(
        run_duration=lambda rng: 0.3 if restarted_by == "exit" else None,
        status=lambda rng: 1,
        check=lambda rng: False,
    )
    world = SimulatedWorld(build_plan(endless, build_job("b")), {"a": behaviour}, seed=1)
    for at in range(600):
        if restarted_by == "template":
            world.feed(cues.TemplateWritten("/file", restart="a"))
        world.run(at * 0.2)
    starts = world.list_spawn_times("a")
    assert len(starts) <= 10 and starts[4] < 12
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert all(b > a for a, b in itertools.pairwise(gaps[:6])) and gaps[-1] > 20
    (loop,) = [event for _, event in world.events if isinstance(event, events.CrashLoopDetected)]
    assert bool(loop.cause) is (restarted_by != "exit")


@pytest.mark.parametrize(("interval", "needs"), [(1, 6), (1, 60), (10, 120), (30, 180), (60, 700)])
def test_a_service_that_comes_up_slowly_comes_up(interval, needs):
    """A job that its check restarts too early gets more time in a crash loop, until it is healthy and stays so.

    That holds for runs that are longer than `reset_after`, too.
    """
    slow = build_job("a", health=build_check(interval, failures=3, on_failure="restart"))
    world = SimulatedWorld(build_plan(slow, build_job("b")))
    world.behaviours["a"] = Behaviour(check=lambda rng: world.now - world.list_spawn_times("a")[-1] > needs)
    world.run(min(6000, 60 * needs + 600))
    (healthy,) = world.list_times(events.Healthy, "a")
    assert healthy < 60 * needs
    assert len(world.list_times(events.CrashLoopDetected, "a")) == 1


def test_a_run_that_was_healthy_counts_by_its_length():
    """A service that serves for longer than `reset_after` between two failures is in no crash loop."""
    serving = build_job("a", health=build_check(10, on_failure="restart"))
    world = SimulatedWorld(build_plan(serving, build_job("b")))
    world.behaviours["a"] = Behaviour(check=lambda rng: world.now - world.list_spawn_times("a")[-1] < 70)
    world.run(300)
    for request in ("enter-maintenance", "leave-maintenance"):  # which begins the checks anew, but no run
        world.feed(cues.RequestReceived(request, "a person"))
    world.run(3000)
    assert len(world.list_times(events.Unhealthy, "a")) > 20
    assert world.list_times(events.CrashLoopDetected, "a") == []


def test_an_operator_restarts_at_once():
    """A restart by request waits for no back-off, and ends one that is under way."""
    sick = build_job("a", health=build_check(0.2, on_failure="restart"))
    world = SimulatedWorld(build_plan(sick, build_job("b")), {"a": Behaviour(check=lambda rng: False)}).run(100)
    before = len(world.list_spawn_times("a"))
    while not world.core.job_records["a"].is_in_backoff:
        world.run(world.now + 0.1)
    world.feed(cues.RequestReceived("restart-job", "test", job="a"))
    assert len(world.list_spawn_times("a")) > before and world.list_spawn_times("a")[-1] == world.now


def test_ordered_stop():
    """Jobs of a lower order are gone before those of a higher one are asked; no fixed sleep anywhere."""
    world = SimulatedWorld(
        build_plan(build_job("agent", stop=Stop(order=9)), build_job("a"), build_job("b", stop=Stop(order=1)))
    ).run(5)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(20)
    gone = {name: world.list_times(events.JobStopped, name)[0] for name in ("a", "b", "agent")}
    asked = {name: world.list_times(events.JobStopping, name)[0] for name in ("a", "b", "agent")}
    assert asked["b"] >= gone["a"] and asked["agent"] >= gone["b"]
    assert world.now < 5.1


def test_stop_escalates_and_kills():
    """A job gets its further signals in time, then SIGKILL at its timeout."""
    stop = Stop(signal=2, timeout=4, escalate=((1.0, 2), (2.0, 3)))
    world = SimulatedWorld(build_plan(build_job("a", stop=stop)), {"a": Behaviour(ignores_signals=True)}).run(1)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(60)
    sent = [(round(t, 2), a.signal) for t, a in world.actions if isinstance(a, actions.Signal)]
    assert sent == [(1, 2), (2, 2), (3, 3)]
    assert [round(t, 2) for t, a in world.actions if isinstance(a, actions.Kill)] == [5]


def test_second_sigterm_hurries():
    """A second SIGTERM kills at once what is left."""
    world = SimulatedWorld(
        build_plan(build_job("a", stop=Stop(timeout=60)), stop_timeout=60), {"a": Behaviour(ignores_signals=True)}
    ).run(1)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(2)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(100)
    assert world.now < 2.1
    assert get_finish(world).outcome.code == 0


def test_hurried_job_gets_its_last_signal_first():
    """condor_master gets its SIGQUIT and a moment before SIGKILL, also when the stop is hurried."""
    stop = Stop(timeout=60, group=False, escalate=((50, 3),))
    world = SimulatedWorld(
        build_plan(build_job("a", stop=stop), stop_timeout=60), {"a": Behaviour(ignores_signals=True)}
    ).run(1)
    for _ in range(2):
        world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(100)
    sent = [(round(t, 1), type(a).__name__) for t, a in world.actions if isinstance(a, actions.Signal | actions.Kill)]
    assert sent == [(1.0, "Signal"), (1.0, "Signal"), (2.0, "Kill")]


def test_stop_budget():
    """All remaining jobs are killed at the end of the stop's budget, and the life ends."""
    world = SimulatedWorld(
        build_plan(build_job("a", stop=Stop(timeout=60)), stop_timeout=7), {"a": Behaviour(ignores_signals=True)}
    ).run(1)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(100)
    assert world.now == pytest.approx(8, abs=0.1)


def test_undying_job_cannot_hold_the_end():
    """A process that not even SIGKILL ends does not keep the supervisor: it leaves and names the job."""
    undying = Behaviour(ignores_signals=True, kill_delay=None)
    world = SimulatedWorld(build_plan(build_job("a"), stop_timeout=5), {"a": undying})
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(100)
    assert get_finish(world).remaining_jobs == ("a",)


def test_prestop_and_poststop_jobs():
    """A pre-stop job runs before its source is signalled, a post-stop job after it is gone; both within the stop."""
    main, pre, post = (
        build_job("main"),
        build_job("pre", when=build_when("main", "stopping")),
        build_job("post", when=build_when("main", "stopped")),
    )
    world = SimulatedWorld(
        build_plan(main, pre, post, stop_timeout=30),
        {"pre": build_ending_behaviour(2), "post": build_ending_behaviour(1)},
    ).run(5)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(60)
    signalled = [t for t, a in world.actions if isinstance(a, actions.Signal) and a.job == "main"]
    assert world.list_spawn_times("pre") == [pytest.approx(5)]
    assert signalled == [pytest.approx(7)]
    assert world.list_spawn_times("post") == [pytest.approx(7.01)]
    assert world.now == pytest.approx(8.01)


@pytest.mark.parametrize("leftovers", [0, 2])
@pytest.mark.parametrize("essential", [True, False])
@pytest.mark.parametrize("ends", ["by itself", "while its pre-stop job runs", "in its back-off"])
def test_poststop_waits_for_prestop_however_its_source_ends(ends, essential, leftovers):
    """`stopped` comes after the pre-stop job also when the source ends by itself, or has no process to stop."""
    main = build_job("main", essential=essential, restarts=None if ends == "in its back-off" else 0, backoff=EXACT)
    pre, post = (
        build_job(name, when=build_when("main", on)) for name, on in (("pre", "stopping"), ("post", "stopped"))
    )
    length = 5.5 if ends == "while its pre-stop job runs" else 2
    behaviours = {"pre": build_ending_behaviour(1), "main": build_ending_behaviour(length, 3, leftovers=leftovers)}
    world = SimulatedWorld(
        build_plan(main, pre, post, stop_timeout=30), behaviours | {"post": build_ending_behaviour(1)}
    ).run(5 if length > 2 else 2.1)
    if ends != "by itself":
        world.feed(cues.RequestReceived("stop-job", "operator", job="main"))
    world.run(60)
    (began,) = world.list_times(events.JobStopping, "main")
    assert world.list_times(events.JobStopped, "main") == [pytest.approx(began + 1, abs=0.02)]
    assert world.list_spawn_times("post") == world.list_times(events.JobStopped, "main")
    if ends == "by itself":
        assert get_finish(world).outcome.code == 3


def test_hurried_end_waits_for_no_prestop_job():
    """A second request ends the wait for the pre-stop job of a source that has ended by itself."""
    main, pre = build_job("main", essential=True), build_job("pre", when=build_when("main", "stopping"))
    world = SimulatedWorld(build_plan(main, pre, stop_timeout=30), {"main": build_ending_behaviour(2, 3)}).run(4)
    for _ in range(2):
        world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(60)
    assert get_finish(world).remaining_jobs == () and world.now == pytest.approx(4, abs=0.1)


def test_a_job_that_never_started_does_not_stop():
    """A job that never ran emits `stopped` but no `stopping`, so its pre-stop job does not run."""
    main = build_job("main", when=build_when("setup", "exitSuccess"))
    pre, post = (
        build_job(name, when=build_when("main", on)) for name, on in (("pre", "stopping"), ("post", "stopped"))
    )
    behaviours = {"setup": build_ending_behaviour(1, 3), "pre": build_ending_behaviour(1)}
    world = SimulatedWorld(
        build_plan(build_job("setup"), main, pre, post), behaviours | {"post": build_ending_behaviour(1)}
    ).run(20)
    assert not world.list_times(events.JobStopping, "main") and not world.list_spawn_times("pre")
    assert world.list_spawn_times("post") == [pytest.approx(1)] and world.finish is not None


def test_several_prestop_jobs_are_all_waited_for():
    """Of several pre-stop jobs of one source every one is waited for."""
    pres = [build_job(f"pre{n}", when=build_when("main", "stopping")) for n in (3, 1, 2)]
    world = SimulatedWorld(
        build_plan(build_job("main"), *pres, stop_timeout=30), {f"pre{n}": build_ending_behaviour(n) for n in (3, 1, 2)}
    ).run(5)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(60)
    assert [t for t, a in world.actions if isinstance(a, actions.Signal)] == [pytest.approx(8)]


def test_stopping_wait_is_bounded():
    """A pre-stop job that hangs holds its source no longer than the source's own limit."""
    world = SimulatedWorld(
        build_plan(
            build_job("main", stopping_wait=3), build_job("pre", when=build_when("main", "stopping")), stop_timeout=30
        )
    )
    world.run(5)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(60)
    assert [t for t, a in world.actions if isinstance(a, actions.Signal) and a.job == "main"] == [pytest.approx(8)]


def test_shutdown_job():
    """A job that waits for the supervisor's `shutdown` runs within the stop."""
    world = SimulatedWorld(
        build_plan(build_job("main"), build_job("bye", when=build_when("", "shutdown"))),
        {"bye": build_ending_behaviour(1)},
    ).run(5)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(60)
    assert world.list_spawn_times("bye") == [pytest.approx(5)]
    assert world.finish is not None


CONDOR = build_job("master", essential=True, restarts=None, stop=Stop(group=False, timeout=30), health=build_check(15))


def build_node_plan(**lifetime):
    return build_plan(
        CONDOR,
        batch=Batch(system="htcondor", job="master", settings=BatchSettings()),
        lifetime=Lifetime(
            drain=Drain(by_batch_system=True), after=Trigger(source="master", event="healthy"), **lifetime
        ),
        stop_timeout=30,
    )


def test_lifetime_ends_peacefully():
    """A life that is over drains, waits for the payload however long it takes, then stops and exits 0."""
    world = SimulatedWorld(build_node_plan(max=100), drain_duration=5000).run(10000)
    begun = [t for t, a in world.actions if isinstance(a, actions.StartDrain)]
    healthy = world.list_times(events.Healthy, "master")[0]
    assert begun == [pytest.approx(healthy + 100)]
    assert not any(isinstance(a, actions.EvictPayloads | actions.TerminatePayloads) for _, a in world.actions)
    assert get_finish(world).outcome == actions.Outcome("lifetime", "drained", 0)
    assert world.now == pytest.approx(begun[0] + 5000, abs=0.1)


def test_lifetime_draws_its_jitter_once():
    """The length of a life is drawn once, between max and max + jitter."""
    drawn = set()
    for seed in range(30):
        world = SimulatedWorld(build_node_plan(max=100, jitter=50), seed=seed).run(10000)
        begun = [event.seconds for _, event in world.events if isinstance(event, events.LifetimeBegun)]
        (seconds,) = begun
        assert seconds is not None and 100 <= seconds <= 150
        drawn.add(round(seconds))
    assert len(drawn) > 10


def test_deadline_soft_then_hard():
    """At the deadline payloads are asked to end, after the grace they are killed, and the end is recorded as forced."""
    world = SimulatedWorld(build_node_plan(max=100, deadline=50, grace=20), drain_duration=None).run(10000)
    soft = [t for t, a in world.actions if isinstance(a, actions.TerminatePayloads)]
    hard = [t for t, a in world.actions if isinstance(a, actions.KillPayloads)]
    begun = [t for t, a in world.actions if isinstance(a, actions.StartDrain)]
    assert soft == [pytest.approx(begun[0] + 50)] and hard == [pytest.approx(soft[0] + 20)]
    assert (get_finish(world).outcome.reason, get_finish(world).outcome.code) == ("lifetime", 75)


@pytest.mark.parametrize("when", ["before the drain", "while draining"])
def test_lost_payloads_end_the_drain_with_75(when):
    """A life that lost payloads to a crash of the batch system does not end as well drained."""
    world = SimulatedWorld(build_node_plan(max=100), drain_duration=50).run(10 if when == "before the drain" else 120)
    world.feed(cues.PayloadsObserved(("1.0", "2.0")))
    world.feed(cues.PayloadsCrashed(("1.0", "2.0"), "condor_startd (pid 7) crashed or was killed"))
    world.feed(cues.PayloadsObserved(()))
    assert [event.payloads for _, event in world.events if isinstance(event, events.PayloadsLost)] == [("1.0", "2.0")]
    assert get_finish(world.run(1000)).outcome == actions.Outcome("lifetime", "drained, payloads lost: 2", 75)


def test_idle_end():
    """A node on which nothing has run for long enough ends before its lifetime, a busy one does not."""
    world = SimulatedWorld(build_node_plan(max=10000, idle=100)).run(50)
    world.feed(cues.PayloadsObserved(("1.0",)))
    world.run(5000)
    assert world.finish is None
    world.feed(cues.PayloadsObserved(()))
    world.run(9999)
    assert get_finish(world).outcome.reason == "idle"
    assert world.now == pytest.approx(5100, abs=0.1)


def test_drain_by_command_with_deadline():
    """`autopilot drain --deadline` enters the same path, and asked again with another deadline, that one counts."""
    world = SimulatedWorld(build_node_plan(), drain_duration=None).run(10)
    world.feed(cues.RequestReceived("drain", "autopilot drain", deadline=1000))
    world.run(20)
    world.feed(cues.RequestReceived("drain", "autopilot drain", deadline=5))
    world.run(10000)
    assert [t for t, a in world.actions if isinstance(a, actions.TerminatePayloads)] == [pytest.approx(25)]
    assert get_finish(world).outcome.reason == "drain"


def build_command_drain_plan(*jobs):
    drain = Drain(begin=Command(argv=("true",)), until=Command(argv=("false",)))
    return build_plan(*jobs, lifetime=Lifetime(drain=drain, max=100.0, deadline=50.0, grace=20.0), stop_timeout=30.0)


@pytest.mark.parametrize("essential", [True, False])
def test_drain_without_a_batch_system_ends_the_work_at_its_deadline(essential):
    """The jobs that work get their stop signal at the deadline; the life is over when the last of them is."""
    jobs = [build_job(name, essential=essential, restarts=None, health=build_check()) for name in ("a", "b")]
    world = SimulatedWorld(build_command_drain_plan(*jobs), drain_duration=None).run(10000)
    signals = [(t, a.job, a.signal) for t, a in world.actions if isinstance(a, actions.Signal)]
    assert [(round(t), job, number) for t, job, number in signals] == [(150, "a", 15), (150, "b", 15)]
    assert not [a for _, a in world.actions if isinstance(a, actions.Kill)]
    assert get_finish(world).outcome == actions.Outcome("lifetime", "drained, forced", 75)
    assert world.now == pytest.approx(150, abs=0.1)


def test_drain_without_a_batch_system_kills_after_its_grace():
    """A job that does not heed the signal at the deadline is killed after the grace, not after its own timeout."""
    jobs = (build_job("deaf", essential=True), build_job("heeds", essential=True), build_job("side", restarts=None))
    world = SimulatedWorld(
        build_command_drain_plan(*jobs), {"deaf": Behaviour(ignores_signals=True)}, drain_duration=None
    ).run(10000)
    kills = [(t, a.job) for t, a in world.actions if isinstance(a, actions.Kill)]
    assert [(round(t), job) for t, job in kills] == [(170, "deaf")]
    assert world.list_times(events.JobStopped, "heeds") == [pytest.approx(150.01)]
    assert world.list_times(events.JobStopped, "side")[0] > 170
    assert get_finish(world).outcome == actions.Outcome("lifetime", "drained, forced", 75)


def test_sigterm_stop_evicts():
    """SIGTERM with `on_sigterm: stop` has the batch system give its payloads back before its master is stopped."""
    world = SimulatedWorld(build_node_plan()).run(10)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(100)
    sent = [
        (round(t, 1), type(a).__name__)
        for t, a in world.actions
        if isinstance(a, actions.EvictPayloads | actions.Signal)
    ]
    assert sent == [(10.0, "EvictPayloads"), (10.4, "Signal")]
    assert get_finish(world).outcome.code == 0


def test_sigterm_drain():
    """SIGTERM with `on_sigterm: drain` drains; a second one stops; a third kills."""
    from dataclasses import replace

    world = SimulatedWorld(
        replace(build_node_plan(), on_sigterm="drain"), {"master": Behaviour(ignores_signals=True)}, drain_duration=None
    ).run(10)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(1000)
    assert any(isinstance(a, actions.StartDrain) for _, a in world.actions) and world.finish is None
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(1001)
    assert any(isinstance(a, actions.EvictPayloads) for _, a in world.actions)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(1002)
    assert get_finish(world).outcome.reason == "signal"


def test_drained_by_somebody_else():
    """A node that somebody else drained (condor_off by hand, or the paper's own job) ends its life in order."""
    world = SimulatedWorld(build_node_plan(max=1000)).run(50)
    world.feed(cues.Drained())
    world.run(100)
    assert get_finish(world).outcome == actions.Outcome("drain", "drained", 0)
    assert not any(isinstance(action, actions.EvictPayloads | actions.StartDrain) for _, action in world.actions)


def test_master_that_ends_itself_while_draining():
    """HTCondor's drain of the whole master ends it with 0: that is the drain's end, and it is not started again."""
    world = SimulatedWorld(build_node_plan(max=10), {"master": build_ending_behaviour(500)}, drain_duration=None).run(
        10000
    )
    assert len(world.list_spawn_times("master")) == 1
    assert get_finish(world).outcome == actions.Outcome("lifetime", "drained", 0)


def test_master_that_dies_while_draining():
    """A master that is killed while it drains is a failure, not a drain's end."""
    world = SimulatedWorld(
        build_node_plan(max=10), {"master": build_ending_behaviour(500, 137)}, drain_duration=None
    ).run(10000)
    assert (get_finish(world).outcome.reason, get_finish(world).outcome.code) == ("job-failed", 137)


def test_good_after_being_healthy_for_long_enough():
    """A life is good once it has been healthy for `healthy_for` without a break, and not before."""
    world = SimulatedWorld(build_plan(build_job("a", health=build_check(10)), healthy_for=120))
    world.behaviours["a"] = Behaviour(check=lambda rng: not 100 <= world.now < 130)
    world.run(1000)
    good = world.list_times(events.BootSucceeded)
    assert len(good) == 1 and 250 <= good[0] <= 262


def test_failing_job_is_never_good():
    """A life whose job keeps crashing is never good."""
    world = SimulatedWorld(build_plan(build_job("a", restarts=None)), {"a": build_ending_behaviour(1, 1)}).run(1000)
    assert not world.list_times(events.BootSucceeded)


def test_stopped_by_a_person():
    """A job stopped by a person keeps the container alive and can be started again."""
    world = SimulatedWorld(build_plan(build_job("a"))).run(5)
    world.feed(cues.RequestReceived("stop-job", "autopilot stop", job="a"))
    world.run(50)
    assert world.finish is None
    world.feed(cues.RequestReceived("start-job", "autopilot start", job="a"))
    world.run(60)
    assert len(world.list_spawn_times("a")) == 2


def test_out_of_memory_is_a_reason_of_its_own():
    """An essential job that the kernel killed for want of memory gives its reason to the last words."""
    world = SimulatedWorld(build_plan(build_job("a", essential=True))).run(5)
    world.feed(cues.Exited("a", 1, 137, oom=True))
    assert (get_finish(world).outcome.reason, get_finish(world).outcome.code) == ("oom", 137)


def test_an_unhealthy_job_that_is_being_stopped_does_not_come_back():
    """A check that fails while a job takes its time to end is no reason to start it again."""
    sick = build_job("a", health=build_check(0.5, on_failure="restart"))
    world = SimulatedWorld(
        build_plan(sick, build_job("b")), {"a": Behaviour(ignores_signals=True, check=lambda rng: False)}
    ).run(0.1)
    world.feed(cues.RequestReceived("stop-job", "test", job="a"))
    world.run(60)
    assert world.core.job_records["a"].is_done and len(world.list_spawn_times("a")) == 1


def test_on_failure_restarts_until_success():
    """A job that restarts on failure comes back after an error, and is over with its first success."""
    statuses = iter([1, 137, 0])
    world = SimulatedWorld(
        build_plan(build_job("a", restarts=None, restart_after_success=False), build_job("b")),
        {"a": Behaviour(run_duration=lambda rng: 1.0, status=lambda rng: next(statuses))},
    ).run(100)
    assert len(world.list_spawn_times("a")) == 3
    assert world.core.job_records["a"].is_done


def test_job_that_waits_to_be_asked():
    """A job with `asked` runs when somebody starts it, also again, and keeps no container alive."""
    waiting = build_job("a", when=build_when("", "asked"), restarts=None)
    world = SimulatedWorld(build_plan(waiting, build_job("b"))).run(10)
    assert world.list_spawn_times("a") == []
    world.feed(cues.RequestReceived("start-job", "test", job="a"))
    world.run(20)
    assert "a" in world.live_runs
    world.feed(cues.RequestReceived("stop-job", "test", job="a"))
    world.run(30)
    world.feed(cues.RequestReceived("start-job", "test", job="a"))
    assert len(world.run(40).list_spawn_times("a")) == 2
    alone = SimulatedWorld(build_plan(waiting, build_job("b")), {"b": Behaviour(run_duration=lambda rng: 1.0)}).run(10)
    assert alone.finish is not None and get_finish(alone).outcome.code == 0
