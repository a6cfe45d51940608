"""Every machine has an answer for every cue in every phase."""

from __future__ import annotations

import itertools

import pytest

from autopilot.machines import health, job, lifetime, shutdown
from autopilot.machines.cues import Exited
from autopilot.spec.plan import Drain, Lifetime
from tests.machines import plans


@pytest.mark.parametrize("machine", [job, health, lifetime, shutdown], ids=lambda m: m.__name__)
def test_tables_are_full(machine):
    """No cell of a machine's table is missing, and none stands for a phase or cue that does not exist."""
    assert set(machine.TABLE) == set(itertools.product(machine.Phase, machine.Input))


@pytest.mark.parametrize(("phase", "on"), list(itertools.product(job.Phase, job.Input)))
def test_job_answers_everything(phase, on):
    """A job in any phase takes any cue, keeps at most one deadline, and never has one when it is done."""
    some = plans.build_job("a", when=plans.build_when("b", "healthy", delay=5), restarts=2, timeout=9)
    state = job.JobState(phase=phase, run=1, pid=7, restarts_remaining=2)
    after, effects = job.step(some, state, on, 100.0, exited=Exited("a", 1, 1), pid=7)
    assert after.phase is not job.Phase.DONE or after.deadline is None
    assert after.deadline is None or after.deadline >= 100.0 or after == state
    assert isinstance(effects, tuple)


@pytest.mark.parametrize(("phase", "on"), list(itertools.product(lifetime.Phase, lifetime.Input)))
def test_lifetime_answers_everything(phase, on):
    """A lifetime in any phase takes any cue, and never goes back to an earlier phase."""
    order = list(lifetime.Phase)
    some = Lifetime(drain=Drain(), max=10, idle=5, deadline=7)
    after, _ = lifetime.step(some, lifetime.LifetimeState(phase=phase), on, 100.0, busy=True)
    assert order.index(after.phase) >= order.index(phase)
