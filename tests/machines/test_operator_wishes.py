"""Operators' requests: the last wish wins, in whatever phase it comes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot.machines import actions, cues, events, job
from autopilot.runtime.simulated_world import Behaviour, SimulatedWorld
from autopilot.spec.plan import Backoff, Command, Drain, Lifetime, Stop, When
from tests.machines.exploration import checked_tables
from tests.machines.plans import NO_PROCESS, TRUE, build_check, build_job, build_plan, build_when
from tests.property_examples import scale_examples

MAIN, KEEPER = build_job("main", restarts=None), build_job("keeper", restarts=None)
PRE_STOP = build_job("pre-stop", when=build_when("main", "stopping"))
IGNORES = Behaviour(ignores_signals=True)
ENDS_SLOWLY = Behaviour(ignores_signals=True, kill_delay=1.0)


def build_ending_behaviour(seconds, status=0):
    return Behaviour(run_duration=lambda rng: seconds, status=lambda rng: status)


def ask(world, verb, name="main"):
    request: Any = f"{verb}-job"
    world.feed(cues.RequestReceived(request, f"autopilot {verb}", job=name))
    return world


def get_phase(world, name="main"):
    return world.core.job_records[name].state.phase


def build_world_in(phase, **behaviours):
    """A world whose job is in a phase of its stop; a killed process takes 1 s to go."""
    hooks = (PRE_STOP,) if phase is job.Phase.HOLDING else ()
    behaviours = {"pre-stop": build_ending_behaviour(2), "main": ENDS_SLOWLY, **behaviours}
    world = SimulatedWorld(build_plan(MAIN, *hooks), behaviours).run(1)
    ask(world, "stop").run(6.5 if phase is job.Phase.KILLING else 1.5)
    assert get_phase(world) is phase
    return world


@pytest.mark.parametrize("verb", ["start", "restart"])
@pytest.mark.parametrize("phase", [job.Phase.HOLDING, job.Phase.STOPPING, job.Phase.KILLING])
def test_a_start_during_a_stop_is_carried_out(verb, phase):
    """A job that is started while it stops, its pre-stop jobs included, is up again after that."""
    world = ask(build_world_in(phase), verb).run(60)
    assert world.finish is None and get_phase(world) is job.Phase.RUNNING
    pre_stop = 2 if phase is job.Phase.HOLDING else 0
    assert world.list_spawn_times("main") == [0, pytest.approx(1 + pre_stop + 5 + 1)]
    assert world.list_times(events.JobStopping, "main") == [1]


@pytest.mark.parametrize("verbs", [["start", "stop"], ["restart", "stop"], ["stop"]])
@pytest.mark.parametrize("phase", [job.Phase.HOLDING, job.Phase.STOPPING, job.Phase.KILLING])
def test_a_stop_takes_the_start_back(verbs, phase):
    """The last of several wishes during a stop counts."""
    world = build_world_in(phase)
    for verb in verbs:
        ask(world, verb)
    world.run(60)
    assert get_phase(world) is job.Phase.DONE and world.list_spawn_times("main") == [0]


def test_a_job_without_a_process_starts_after_its_pre_stop_jobs():
    """The same holds for a job that is only checked."""
    main = replace(MAIN, command=NO_PROCESS)
    world = SimulatedWorld(build_plan(main, PRE_STOP, KEEPER), {"pre-stop": build_ending_behaviour(2)}).run(1)
    ask(world, "stop")
    ask(world, "start").run(10)
    assert get_phase(world) is job.Phase.RUNNING and world.list_times(events.JobStarted, "main") == [0, 3]


def test_a_job_that_dies_during_its_pre_stop_jobs_is_started():
    """A start that waits for the stop is not lost with a process that ends by itself."""
    world = build_world_in(job.Phase.HOLDING)
    ask(world, "start")
    world.schedule(0.1, cues.Exited("main", 1, 1))
    world.run(2)
    assert get_phase(world) is job.Phase.RUNNING and len(world.list_spawn_times("main")) == 2


def test_a_reload_reaches_a_job_that_waits_for_its_pre_stop_jobs():
    """A job in its pre-stop time still works, so a changed file is news to it; one that stops needs none."""
    world = build_world_in(job.Phase.HOLDING)
    world.feed(cues.TemplateWritten("/f", reload="main"))
    assert [action for _, action in world.actions if isinstance(action, actions.Reload)]
    world = build_world_in(job.Phase.STOPPING)
    world.feed(cues.TemplateWritten("/f", reload="main"))
    assert not [action for _, action in world.actions if isinstance(action, actions.Reload)]


def test_a_hurried_stop_wins_over_a_restart():
    """A job that is being killed for its restart does not come back when everything is to end at once."""
    later = replace(MAIN, stop=Stop(order=9))
    world = SimulatedWorld(build_plan(later, build_job("first"), stop_timeout=60.0), {"first": ENDS_SLOWLY})
    world.behaviours["main"] = ENDS_SLOWLY
    ask(world.run(1), "restart")
    world.run(6.5)
    for _ in range(2):
        world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    world.run(60)
    assert len(world.list_spawn_times("main")) == 1


def test_a_hurried_job_that_has_just_started_gets_its_last_signal():
    """A process that was there only after its stop was requested is known, so that it gets its last signal."""
    some = replace(MAIN, stop=Stop(timeout=60, escalate=((50, 3),)))
    state = job.JobState(phase=job.Phase.STARTING, run=1)
    state, _ = job.step(some, state, job.Input.STOP, 1.0)
    state, _ = job.step(some, state, job.Input.SPAWNED, 1.1, pid=7)
    state, effects = job.step(some, state, job.Input.HURRY, 1.2)
    (effect,) = effects
    assert isinstance(effect, actions.Signal) and effect.signal == 3 and state.phase is job.Phase.STOPPING


def test_nothing_starts_while_everything_ends():
    """A start or a restart that comes during the shutdown starts no job, and does not hold the end up."""
    jobs = (build_job("first"), replace(MAIN, stop=Stop(order=9)), build_job("idle", when=build_when("main", "exit")))
    world = SimulatedWorld(build_plan(*jobs, stop_timeout=30.0), {"first": IGNORES}).run(1)
    world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    for verb, name in (("start", "first"), ("restart", "first"), ("restart", "main"), ("start", "idle")):
        ask(world, verb, name)
    world.feed(cues.TemplateWritten("/f", restart="main"))
    world.run(60)
    assert world.now == pytest.approx(6, abs=0.1)
    assert [a.job for _, a in world.actions if isinstance(a, actions.Spawn)] == ["first", "main"]


def test_a_stop_that_overtakes_a_restart_is_announced():
    """Pre-stop jobs hear of a stop also when it comes while the job is being restarted."""
    short = {"main": IGNORES, "pre-stop": build_ending_behaviour(2)}
    world = SimulatedWorld(build_plan(MAIN, PRE_STOP, KEEPER), short).run(1)
    ask(world, "restart")
    assert not world.list_times(events.JobStopping, "main"), "a restart is no stop"
    ask(world.run(2), "stop").run(60)
    assert world.list_times(events.JobStopping, "main") == [2]
    assert world.list_spawn_times("pre-stop") == [2] and get_phase(world) is job.Phase.DONE


def test_a_template_does_not_bring_back_what_a_drain_ends():
    """The batch system's main process, which ends with its drain, is not restarted for a changed file."""
    some = job.JobState(phase=job.Phase.RUNNING, run=1, pid=7)
    retired, _ = job.step(MAIN, some, job.Input.RETIRE, 1.0)
    world = SimulatedWorld(build_plan(MAIN, lifetime=Lifetime(drain=Drain()))).run(1)
    world.core.job_records["main"].state = replace(retired, pid=world.core.job_records["main"].state.pid)
    world.feed(cues.TemplateWritten("/f", restart="main"))
    assert get_phase(world) is job.Phase.RUNNING


# --- whatever comes ---

services = st.builds(
    lambda command, order, delay, waits, check: build_job(
        "main",
        command=command,
        restarts=None,
        backoff=Backoff(reset_after=1.0),
        when=When(delay=delay),
        stop=Stop(timeout=4.0, order=order, escalate=((1.0, 2),)),
        stopping_wait=waits,
        health=build_check(1.0, on_failure="restart") if check else None,
    ),
    st.sampled_from([TRUE, NO_PROCESS]),
    st.integers(0, 2),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from([None, 3.0]),
    st.booleans(),
)
ways = st.builds(
    lambda mean, deaf, leaves, sick: Behaviour(
        run_duration=lambda rng: None if mean is None else rng.expovariate(1 / mean),
        status=lambda rng: rng.choice([0, 1]),
        ignores_signals=deaf,
        leftovers=leaves,
        check=lambda rng: rng.choice(sick),
    ),
    st.sampled_from([None, None, 3.0]),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([(True,), (True, False)]),
)
WISHES = ["start", "stop", "restart"]
NEWS = ["signal", "reload", "template restart", "maintenance on", "maintenance off", "new command", "new rules"]
turns = st.lists(st.tuples(st.sampled_from([*WISHES, *WISHES, *NEWS]), st.floats(0.0, 6.0)), min_size=1, max_size=12)


def let_happen(world, turn, main, hooks):
    match turn:
        case "signal":
            world.feed(cues.RequestReceived("signal-job", "test", job="main", signal=10))
        case "reload":
            world.feed(cues.TemplateWritten("/f", reload="main"))
        case "template restart":
            world.feed(cues.TemplateWritten("/f", restart="main"))
        case "maintenance on" | "maintenance off":
            request: Any = "enter-maintenance" if turn == "maintenance on" else "leave-maintenance"
            world.feed(cues.RequestReceived(request, "test"))
        case "new command" | "new rules":
            has_process = bool(main.command.argv)
            other = Command(argv=("other", str(world.now))) if turn == "new command" and has_process else main.command
            changed = replace(main, command=other, raw=not main.raw)
            world.feed(cues.PlanChanged(build_plan(changed, *hooks, KEEPER)))
            return changed
        case verb:
            ask(world, verb)
    return main


@pytest.mark.slow
@settings(max_examples=scale_examples(150), deadline=None)
@given(services, ways, turns, st.lists(st.sampled_from([0.5, 5.0]), max_size=2), st.integers(0, 100))
def test_the_last_wish_wins(main, way, happenings, hook_lengths, seed):
    """Whatever operators ask for and whatever happens meanwhile: in the end the job is up if the last wish was up, and
    down if it was down; every run follows the one before, and every step leads where its cell says.
    """
    hooks = [build_job(f"hook{n}", when=build_when("main", "stopping")) for n in range(len(hook_lengths))]
    behaviours = {f"hook{n}": build_ending_behaviour(seconds) for n, seconds in enumerate(hook_lengths)}
    with checked_tables():
        world = SimulatedWorld(build_plan(main, *hooks, KEEPER), {**behaviours, "main": way}, seed=seed)
        is_wanted = True
        for turn, pause in happenings:
            main = let_happen(world, turn, main, hooks)
            if turn in WISHES:
                is_wanted = turn != "stop"
            world.run(world.now + pause)
        world.behaviours["main"] = Behaviour(ignores_signals=way.ignores_signals, leftovers=way.leftovers)
        world.run(world.now + 120)
    assert world.finish is None
    record = world.core.job_records["main"]
    assert not record.being_replaced and record.plan == main
    if is_wanted:
        assert record.state.phase is job.Phase.RUNNING and record.state.want_up
    else:
        assert record.is_done and "main" not in world.live_runs
