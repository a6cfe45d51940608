"""Every machine decides on every input in every phase, and its table says where that leads."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from autopilot.adapters.consul import registration, registration_state
from autopilot.adapters.consul.service_definition import ServiceDefinition
from autopilot.machines import cron_schedule, events, health, job, lifetime, shutdown
from autopilot.machines.actions import Outcome, Spawn
from autopilot.machines.cues import Exited
from autopilot.machines.tables import IGNORE, Cell, TableError, build_table
from autopilot.spec.plan import Command, Drain, Job, Lifetime, OuterJob, Stop, When
from tests.machines import plans
from tests.machines.exploration import assert_targets_are_true, observe_targets

MACHINES = [job, health, lifetime, shutdown, registration]
all_machines = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.__name__.rpartition(".")[2])


def list_rows(machine):
    """A table as its source has it: rows of cells by name."""
    return {
        phase.name.lower(): {on.name.lower(): machine.TABLE[phase, on] for on in machine.Input}
        for phase in machine.Phase
    }


def extend(members):
    """Return the enum with one more member."""
    return Enum(members.__name__, {**{m.name: m.value for m in members}, "NEW": "new"}, module=members.__module__)


def import_changed(machine, pattern, replacement):
    """Import the source of a machine with the first match of a pattern replaced."""
    source, count = re.subn(pattern, replacement, Path(machine.__file__).read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    module = ModuleType(machine.__name__)
    with pytest.MonkeyPatch.context() as patched:  # where dataclasses look for the names of a module
        patched.setitem(__import__("sys").modules, machine.__name__, module)
        exec(compile(source, machine.__file__, "exec"), module.__dict__)
    return module


@all_machines
def test_tables_are_full(machine):
    """No cell of a machine's table is missing, and none stands for a phase or input that does not exist."""
    assert set(machine.TABLE) == set(itertools.product(machine.Phase, machine.Input))
    assert import_changed(machine, r"\A", "").TABLE.keys()


@all_machines
def test_a_mistyped_cell_fails_at_import(machine):
    """A cell with a name that no input has, a row that no phase has, and a missing cell are errors of the import."""
    with pytest.raises(TableError, match="has mistyped, which is no Input"):
        import_changed(machine, r"^        \w+=(IGNORE|Cell\()", r"        mistyped=\1")
    with pytest.raises(TableError, match="has mistyped, which is no Phase"):
        import_changed(machine, r"^    \w+=Row\(", "    mistyped=Row(")
    with pytest.raises(TableError, match=r"row \w+ does not decide on \w+"):
        import_changed(machine, r"^        \w+=IGNORE,.*\n", "")


@all_machines
def test_a_new_input_has_to_be_decided_on(machine):
    """A new input fails until every row has decided on it, and a new phase until it has its row."""
    with pytest.raises(TableError) as failure:
        build_table(machine.Phase, extend(machine.Input), **list_rows(machine))
    assert str(failure.value).count("does not decide on new") == len(machine.Phase)
    with pytest.raises(TableError, match="the table does not decide on new"):
        build_table(extend(machine.Phase), machine.Input, **list_rows(machine))


def test_a_cell_leads_to_phases_of_its_own_machine():
    """A phase of another machine is no target."""
    row = dict.fromkeys((on.name.lower() for on in shutdown.Input), IGNORE)
    rows = {phase.name.lower(): row for phase in shutdown.Phase}
    rows["up"] = {**row, "stop": Cell(IGNORE.action, job.Phase.STOPPING)}
    with pytest.raises(TableError, match=r"row up, cell stop: leads to Phase\.STOPPING, which is no Phase"):
        build_table(shutdown.Phase, shutdown.Input, **rows)


@pytest.mark.parametrize(("phase", "on"), list(itertools.product(job.Phase, job.Input)))
def test_job_answers_everything(phase, on):
    """A job in any phase takes any input, keeps at most one deadline, and never has one when it is done."""
    some = plans.build_job("a", when=plans.build_when("b", "healthy", delay=5), restarts=2, timeout=9)
    state = job.JobState(phase=phase, run=1, pid=7, restarts_remaining=2)
    after, effects = job.step(some, state, on, 100.0, exited=Exited("a", 1, 1), pid=7)
    assert after.phase is not job.Phase.DONE or after.deadline is None
    assert after.deadline is None or after.deadline >= 100.0 or after == state
    assert isinstance(effects, tuple)


@pytest.mark.parametrize(("phase", "on"), list(itertools.product(lifetime.Phase, lifetime.Input)))
def test_lifetime_answers_everything(phase, on):
    """A lifetime in any phase takes any input, and never goes back to an earlier phase."""
    order = list(lifetime.Phase)
    some = Lifetime(drain=Drain(), max=10, idle=5, deadline=7)
    after, _ = lifetime.step(some, lifetime.LifetimeState(phase=phase), on, 100.0, busy=True)
    assert order.index(after.phase) >= order.index(phase)


# --- the targets of the cells ---


@dataclass(frozen=True)
class JobSituation:
    """A job, and the processes of its run."""

    plan: Job
    state: job.JobState
    leader: str = ""  # "", requested, alive
    has_members: bool = False

    @property
    def phase(self):
        return self.state.phase


def find_three_times(when, after):
    return after + 60.0 if after < 150 else None


def list_job_variants():
    once, each = plans.build_when("b", "healthy"), plans.build_when("b", "healthy", each=True)
    whens = [once, replace(once, delay=5.0, timeout=9.0), each, replace(each, delay=5.0), When(every=10.0)]
    whens.append(When(cron="* * * * *"))
    for when, command, restarts in itertools.product(whens, (plans.TRUE, plans.NO_PROCESS), (0, None)):
        stop = Stop(escalate=((1.0, 3),), timeout=4.0)
        yield plans.build_job(
            "a", when=when, command=command, restarts=restarts, timeout=9.0, stop=stop, stopping_wait=2.0
        )


def list_job_steps(s):
    """Every input that a job can get, with the news of its processes only while it has them."""
    for has_pre_stop_jobs in (False, True):
        yield from list_steps_of_job(s, functools.partial(step_job, has_pre_stop_jobs=has_pre_stop_jobs))
    if s.phase in job.IDLE_PHASES:  # a reload may change the command of a job that has no process
        other = plans.NO_PROCESS if s.plan.command.argv else Command(argv=("true",))
        yield None, replace(s, plan=replace(s.plan, command=other))


def list_steps_of_job(s, step_job):
    inputs = set(job.Input) - {job.Input.SPAWNED, job.Input.EXITED, job.Input.EMPTIED, job.Input.ELAPSED}
    for on in sorted(inputs, key=lambda on: on.name):
        yield on, step_job(s, on)
    if s.state.deadline is not None:
        yield job.Input.ELAPSED, step_job(s, job.Input.ELAPSED, now=s.state.deadline)
        yield job.Input.ELAPSED, step_job(s, job.Input.ELAPSED, now=s.state.deadline, wall_offset=10_000.0)
    if s.leader == "requested":
        yield job.Input.SPAWNED, step_job(s, job.Input.SPAWNED, leader="alive")
    if s.leader:
        for status, members in itertools.product((0, 1), (0, 2) if s.leader == "alive" else (0,)):
            exited = Exited("a", s.state.run, status, members)
            yield job.Input.EXITED, step_job(s, job.Input.EXITED, exited=exited, leader="", has_members=members > 0)
    if s.has_members:
        yield job.Input.EMPTIED, step_job(s, job.Input.EMPTIED, has_members=False)


def step_job(s, on, *, now=None, exited=None, wall_offset=0.0, has_pre_stop_jobs=False, **processes):
    state, effects = job.step(
        s.plan,
        s.state,
        on,
        s.state.since if now is None else now,
        exited=exited,
        pid=7,
        clock=cron_schedule.Clock(wall_offset, find_three_times),
        has_pre_stop_jobs=has_pre_stop_jobs,
        cause="was sick",
    )
    after = replace(s, state=state, **processes)
    if any(isinstance(effect, Spawn) for effect in effects):
        assert not after.leader and not after.has_members, "two runs at once"
        after = replace(after, leader="requested")
    if any(isinstance(effect, events.JobStopped) for effect in effects):
        assert not after.leader and not after.has_members, "over, with a process"
    return after


def get_job_key(s):
    t = s.state
    flags = (t.want_up, t.stop_requested, t.stop_announced, t.restart_when_empty, t.recycle_cause, t.trigger_pending)
    run = (t.has_run, t.run_over, t.pre_stop_over)
    counts = (t.restarts_remaining, t.escalations_sent, t.pid, t.deadline is None, t.next_run is None, t.since > 150)
    plan = (s.plan.when, s.plan.restarts, bool(s.plan.command.argv))
    return (plan, t.phase, *flags, *run, *counts, s.leader, s.has_members)


@pytest.mark.slow
def test_targets_of_the_job_table():
    """Every phase that a job's cell names is reached from it, and no other."""
    initial = [JobSituation(plan, job.build_initial_state(plan, 0.0)) for plan in list_job_variants()]
    assert_targets_are_true(job.TABLE, observe_targets(initial, list_job_steps, get_job_key))


def test_targets_of_the_health_table():
    """Every phase that a health cell names is reached from it, and no other."""
    plan = plans.build_check(10.0)

    def list_steps(state):
        for on in health.Input:
            yield on, health.step("a", plan, state, on, state.deadline or 0.0)[0]

    observed = observe_targets([health.HealthState()], list_steps, lambda s: (s.phase, s.status, s.failures > 1))
    assert_targets_are_true(health.TABLE, observed)


def test_targets_of_the_lifetime_table():
    """Every phase that a lifetime's cell names is reached from it, and no other."""
    observed: dict[Any, set[Any]] = {}
    for queue, idle in itertools.product((True, False), (None, 5.0)):
        plan = Lifetime(drain=Drain(), max=10.0, idle=idle, deadline=7.0, queue=queue, within=OuterJob())

        limited = replace(plan, payloads=1)

        def list_steps(state, plan=plan, limited=limited):
            for on in (lifetime.Input.TAKEN, lifetime.Input.REPLANNED):
                yield on, lifetime.step(limited, state, on, state.began, taken=1)[0]
            for on, busy in itertools.product(lifetime.Input, (True, False)):
                if on is not lifetime.Input.ELAPSED or state.deadline is not None:
                    now = state.deadline if on is lifetime.Input.ELAPSED else state.began
                    yield (
                        on,
                        lifetime.step(plan, state, on, now, busy=busy, taken=1, deadline_in=3.0, outer_end=500.0)[0],
                    )

        walked = observe_targets(
            [lifetime.LifetimeState()], list_steps, lambda s: (s.phase, s.busy, s.taken, s.deadline)
        )
        for cell, targets in walked.items():
            observed.setdefault(cell, set()).update(targets)
    assert_targets_are_true(lifetime.TABLE, {key: observed.get(key, set()) for key in lifetime.TABLE})


def test_targets_of_the_shutdown_table():
    """Every phase that a shutdown's cell names is reached from it, and no other."""

    def list_steps(state):
        for on, remaining in itertools.product(shutdown.Input, ((), (1,))):
            outcome = Outcome("signal", "", 0)
            yield on, shutdown.step(state, on, 0.0, remaining_orders=remaining, outcome=outcome, budget=5.0)[0]

    observed = observe_targets([shutdown.ShutdownState()], list_steps, lambda s: (s.phase, s.order))
    assert_targets_are_true(shutdown.TABLE, observed)


def test_targets_of_the_registration_table():
    """Every phase that a registration's cell names is reached from it, and no other."""
    definition = ServiceDefinition(id="web", name="web", ttl=30.0)
    desired = (None, registration_state.Desired(definition, "passing"))

    def list_steps(state):
        for on, new in itertools.product(registration_state.Input, desired):
            if on is not registration_state.Input.DEADLINE_ELAPSED or state.deadline is not None:
                now = state.last_contact_at if state.deadline is None else state.deadline
                yield on, registration.step(state, on, now, desired=new)[0]

    def get_key(s):
        return s.phase, repr((s.desired, s.observed, s.call)), min(s.consecutive_refusals, 2), min(s.takeover_count, 4)

    observed = observe_targets([registration_state.Registration("web")], list_steps, get_key)
    assert_targets_are_true(registration.TABLE, observed)


@all_machines
def test_the_first_phase_is_the_initial_one(machine):
    """A machine begins in the first phase of its enum: diagrams begin there."""
    initial = {
        job: job.JobState().phase,
        health: health.HealthState().phase,
        lifetime: lifetime.LifetimeState().phase,
        shutdown: shutdown.ShutdownState().phase,
        registration: registration_state.Registration("web").phase,
    }
    assert initial[machine] is next(iter(machine.Phase))
