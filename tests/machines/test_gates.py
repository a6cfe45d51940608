"""Gates: a job starts only behind a check that has passed, and a gate that never opens has its consequence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot.adapters.checks.exec_check import ExecProbe
from autopilot.machines import actions, cues, events, gate
from autopilot.runtime.simulated_world import Behaviour, GateBehaviour, SimulatedWorld
from autopilot.spec.plan import Command, Gate, When
from tests.machines.plans import TRUE, build_check, build_job, build_plan, build_when, get_finish
from tests.property_examples import scale_examples

NO = GateBehaviour(check=lambda rng: False, output="no")


def build_gate(name="g", *, before=("a",), **fields):
    values = {"retry": 10.0, "attempt_timeout": 5.0, "timeout": 60.0}
    return Gate(name=name, probe=ExecProbe(command=TRUE), before=before, **values | fields)


def build_world(*gates, jobs=(), behaviours=None, **fields):
    plan = build_plan(*(jobs or (build_job("a"), build_job("b"))), checks=gates)
    return SimulatedWorld(plan, behaviours or {}, **fields)


def list_attempts(world, name="g"):
    return [at for at, action in world.actions if isinstance(action, actions.AskGate) and action.gate == name]


def list_events(world, kind):
    return [event for _, event in world.events if isinstance(event, kind)]


def test_a_job_starts_behind_its_open_gate_and_others_at_once():
    """The guarded job starts when the check has passed, a job that nothing guards at the beginning."""
    world = build_world(build_gate(), gates={"g": GateBehaviour(duration=2.0)}).run(10)
    assert world.list_spawn_times("a") == [2.0]
    assert world.list_spawn_times("b") == [0.0]


def test_a_gate_is_asked_again_until_it_passes():
    """After a refusal the next attempt follows `retry` later; the same answer is told once, another one again."""
    world = build_world(build_gate(), gates={"g": NO}).run(15)
    assert list_attempts(world) == pytest.approx([0.0, 10.01])
    assert [event.output for event in list_events(world, events.GateRefused)] == ["no"]
    for output in ("another no: 5 GB", "another no: 4 GB"):
        world.gates["g"] = GateBehaviour(check=lambda rng: False, output=output)
        world.run(world.now + 10)
    world.gates["g"] = GateBehaviour()
    world.run(80)
    assert [event.output for event in list_events(world, events.GateRefused)] == ["no", "another no: 5 GB"]
    assert len(world.list_spawn_times("a")) == 1
    assert len(list_attempts(world)) == 5  # none after it has opened


@pytest.mark.parametrize(
    ("on_failure", "reason", "code"), [("neutral", "preflight", 75), ("failed", "gate-failed", 78)]
)
def test_a_gate_that_never_opens_ends_the_life(on_failure, reason, code):
    """After the timeout the life ends: neutral for the image with 75, or as its failure with 78."""
    world = build_world(build_gate(on_failure=on_failure, remedy="mount it"), gates={"g": NO}).run(1000)
    outcome = get_finish(world).outcome
    assert (outcome.reason, outcome.code) == (reason, code)
    assert outcome.detail == "check g has not passed: no; mount it"
    assert list_attempts(world)[-1] == pytest.approx(60.0)
    assert world.list_spawn_times("a") == []


def test_a_gate_without_patience_is_asked_once():
    """A timeout of 0 is a single attempt."""
    world = build_world(build_gate(timeout=0.0), gates={"g": NO}).run(1000)
    assert get_finish(world).outcome.code == 75
    assert list_attempts(world) == [0.0]


def test_an_attempt_that_hangs_is_a_refusal():
    """A check without an answer is cancelled at the limit of its attempt, and asked again."""
    world = build_world(build_gate(), gates={"g": GateBehaviour(check=lambda rng: None)}).run(1000)
    assert list_attempts(world)[:2] == [0.0, 15.0]
    cancelled = [action for _, action in world.actions if isinstance(action, actions.CancelGate)]
    assert len(cancelled) == len(list_attempts(world))
    assert "no answer within 5 s" in get_finish(world).outcome.detail


def test_jobs_may_start_without_the_gate():
    """With `start` the jobs start after the timeout, although the check has not passed."""
    world = build_world(build_gate(on_failure="start"), gates={"g": NO}).run(1000)
    assert world.list_spawn_times("a") == pytest.approx([60.01])
    assert world.finish is None


def test_jobs_may_wait_without_limit():
    """With `wait` the failure is told once, and the job starts whenever the check passes."""
    world = build_world(build_gate(on_failure="wait"), gates={"g": NO}).run(1000)
    assert len(list_events(world, events.GateFailed)) == 1
    world.gates["g"] = GateBehaviour()
    world.run(1020)
    assert len(world.list_spawn_times("a")) == 1


def test_a_job_waits_for_all_its_gates():
    """A job behind two gates starts when the second one has opened."""
    world = build_world(
        build_gate("first"), build_gate("second", before=("a", "b")), gates={"second": GateBehaviour(duration=3.0)}
    ).run(10)
    assert world.list_spawn_times("a") == world.list_spawn_times("b") == [3.0]


def test_a_gate_is_asked_when_its_job_would_start():
    """A gate rests until the `when` of its job is true, and then its time begins."""
    jobs = (build_job("a", when=build_when("b", "exitSuccess")), build_job("b"), build_job("c"))
    world = build_world(
        build_gate(timeout=0.0), jobs=jobs, behaviours={"b": Behaviour(run_duration=lambda rng: 500.0)}
    ).run(1000)
    assert list_attempts(world) == [500.0]
    assert world.list_spawn_times("a") == pytest.approx([500.01])


def test_an_open_gate_stays_open():
    """A restart of the job does not ask the gate again."""
    jobs = (build_job("a", restarts=3),)
    world = build_world(
        build_gate(), jobs=jobs, behaviours={"a": Behaviour(run_duration=lambda rng: 5.0, status=lambda rng: 1)}
    ).run(100)
    assert len(world.list_spawn_times("a")) == 4
    assert len(list_attempts(world)) == 1


@pytest.mark.parametrize("request_", ["stop-job", "start-job"])
def test_a_gate_that_no_job_needs_ends_no_life(request_):
    """An operator who stops the job, or starts it in spite of its gate, ends the questions and their consequence."""
    world = build_world(build_gate(), gates={"g": NO}).run(5)
    world.feed(cues.RequestReceived(request_, "test", job="a"))
    world.run(1000)
    assert world.finish is None
    assert len(list_attempts(world)) == 1
    assert len(world.list_spawn_times("a")) == (request_ == "start-job")


def test_a_job_with_cron_waits_for_its_gate():
    """A time of a cron job that comes before its gate opens is made up for; later times are kept."""
    jobs = (build_job("a", when=When(cron="0 * * * *", timezone="UTC"), restarts=None), build_job("b"))
    world = build_world(
        build_gate(timeout=7200.0), jobs=jobs, gates={"g": NO}, behaviours={"a": Behaviour(lambda rng: 1.0)}
    ).run(3630)
    assert world.list_spawn_times("a") == []
    world.gates["g"] = GateBehaviour()
    world.run(7300)
    assert len(world.list_spawn_times("a")) == 2


def test_a_wait_for_a_gate_is_no_boot_success():
    """A life whose job waits for a gate does not count as a good boot of the image."""
    world = build_world(build_gate(timeout=1000.0), gates={"g": NO}).run(500)
    assert list_events(world, events.BootSucceeded) == []
    world.gates["g"] = GateBehaviour()
    world.run(1000)
    assert len(list_events(world, events.BootSucceeded)) == 1


def test_a_stop_ends_the_questions():
    """A life that is stopped while a gate is asked cancels the check and ends at once, with the stop's outcome."""
    world = build_world(build_gate(), gates={"g": GateBehaviour(check=lambda rng: None)}).run(2)
    world.feed(cues.RequestReceived("stop", "test"))
    world.run(10)
    assert get_finish(world).outcome.reason == "signal"
    assert [action for _, action in world.actions if isinstance(action, actions.CancelGate)]


@pytest.mark.parametrize("change", ["removed", "another check", "other jobs"])
def test_a_reload_takes_a_changed_gate(change):
    """A reload that removes or mends a gate starts its job at once; one that only changes the jobs keeps its time."""
    world = build_world(build_gate(), gates={"g": NO}).run(5)
    other = build_gate()
    if change == "another check":
        other = Gate(**{**as_fields(other), "probe": ExecProbe(command=Command(argv=("mended",)))})
        world.gates["g"] = GateBehaviour()
    elif change == "other jobs":
        other = build_gate(before=("a", "b"))
    checks = () if change == "removed" else (other,)
    world.feed(cues.PlanChanged(build_plan(build_job("a"), build_job("b"), checks=checks)))
    world.run(9)
    assert len(world.list_spawn_times("a")) == (change != "other jobs")
    assert len(list_attempts(world)) == (2 if change == "another check" else 1)


def as_fields(planned):
    return {name: getattr(planned, name) for name in Gate.__slots__}


def test_a_late_answer_is_dropped():
    """The answer of a cancelled attempt opens nothing."""
    world = build_world(build_gate(), gates={"g": GateBehaviour(check=lambda rng: None)}).run(20)
    world.feed(cues.GateAnswered("g", 1, True, "late"))
    world.feed(cues.GateAnswered("other", 1, True, "unknown"))
    assert world.run(21).list_spawn_times("a") == []


steps = st.lists(st.tuples(st.sampled_from(gate.Input), st.floats(0, 20)), max_size=40)


@settings(max_examples=scale_examples(200))
@given(
    steps,
    st.sampled_from(["neutral", "failed", "start", "wait"]),
    st.sampled_from([0.0, 15.0, 60.0]),
)
def test_every_course_of_a_gate_keeps_the_rules(course, on_failure, timeout):
    """In any order of inputs a gate opens and fails at most once, is asked by number, and cancels a check it leaves."""
    planned = build_gate(on_failure=on_failure, timeout=timeout)
    state, now = gate.GateState(), 0.0
    seen: list[gate.Effect] = []
    for on, wait in course:
        now += wait
        before = state
        state, effects = gate.step(planned, state, on, now, output="x")
        seen += effects
        assert (state.deadline is not None) == (state.phase in gate.ACTIVE_PHASES)
        assert state.attempt >= before.attempt
        asked = any(isinstance(effect, actions.AskGate) for effect in effects)
        assert asked == (state.attempt > before.attempt) == (state.phase is gate.Phase.CHECKING is not before.phase)
        if before.phase is gate.Phase.CHECKING is not state.phase and on in (gate.Input.ELAPSED, gate.Input.UNNEEDED):
            assert any(isinstance(effect, actions.CancelGate) for effect in effects)
    assert sum(isinstance(effect, events.GateOpened) for effect in seen) <= 1
    failures = [effect for effect in seen if isinstance(effect, events.GateFailed)]
    assert on_failure == "wait" or len(failures) <= 1
    if state.phase is gate.Phase.FAILED:
        assert on_failure in ("neutral", "failed")


def build_behaviour(planned: list[bool | None]) -> GateBehaviour:
    """Return the behaviour of a check with these answers at first, and random ones then."""
    return GateBehaviour(check=lambda rng: planned.pop(0) if planned else rng.random() < 0.3)


answers = st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=6)


@settings(max_examples=scale_examples(60))
@given(answers, answers, st.sampled_from(["neutral", "failed", "start", "wait"]), st.integers(0, 10))
def test_no_job_ever_starts_before_its_gates(first, second, on_failure, seed):
    """Whatever the checks answer, a job starts only after all its gates opened, or after `start` gave one up."""
    gates = {"g": build_behaviour([*first]), "h": build_behaviour([*second])}
    jobs = (build_job("a", health=build_check(10)), build_job("b"), build_job("c"))
    world = build_world(
        build_gate(on_failure=on_failure), build_gate("h", before=("a", "b")), jobs=jobs, gates=gates, seed=seed
    ).run(500)
    done = {"g": None, "h": None}
    for at, event in world.events:
        if isinstance(event, events.GateOpened) or (
            isinstance(event, events.GateFailed) and event.on_failure == "start"
        ):
            done[event.gate] = at
    for job, names in (("a", "gh"), ("b", "h")):
        for at in world.list_spawn_times(job):
            assert all(done[name] is not None and done[name] <= at for name in names)
    assert world.list_spawn_times("c")[0] == 0.0
