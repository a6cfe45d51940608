"""How the units of a running life come to a new plan.

Pure. `fate` says what becomes of one unit; `renewed` is the unit that takes its place. A unit that has to go is stopped
as any job is (its pre-stop jobs first, its post-stop jobs after); its successor is armed when all that is over, so
that old and new never overlap. An armed unit is offered what holds already: a job that waits for another's health
does not wait for ever because that one has been healthy for an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum

from autopilot.machines import facts, health, job, when
from autopilot.machines.changes import needs_restart
from autopilot.machines.unit import Unit
from autopilot.spec.plan import Job

IDLE = frozenset({job.Phase.WAITING, job.Phase.DELAYED, job.Phase.RESTING})


class Fate(Enum):
    STAY = "goes on, by the new rules"
    START = "starts at once instead of waiting for its back-off"
    ARM = "begins anew"
    REPLACE = "is stopped, then begins anew"
    LEAVE = "is stopped for good"
    VANISH = "is not there any more"


def fate(unit: Unit, planned: Job | None, *, held: bool) -> Fate:
    """`planned`: the job of that name in the new plan; `held`: a person stopped it."""
    phase = unit.state.phase
    if unit.going:
        return Fate.LEAVE if planned is None else Fate.REPLACE
    if planned is None:
        return Fate.LEAVE if phase in job.ALIVE else Fate.VANISH
    other_process = needs_restart(unit.plan, planned)
    if phase in job.ALIVE:
        return Fate.REPLACE if other_process else Fate.STAY
    if phase is job.Phase.BACKOFF:
        return Fate.START if other_process else Fate.STAY
    other_time = unit.plan.when != planned.when
    if phase in IDLE:
        return Fate.ARM if other_time else Fate.STAY
    again = other_process or other_time or unit.plan.restarts != planned.restarts or unit.state.run == 0
    return Fate.ARM if again and not held else Fate.STAY


def renewed(planned: Job, now: float, before: Unit | None = None) -> Unit:
    """A unit that waits for its `when`. It counts its runs from those `before`: their late news are not for it."""
    state = job.initial(planned, now)
    if before is not None:
        state = replace(state, run=before.state.run, restarts=before.state.restarts)
    return Unit(planned, state, health.HealthState())


def stopped(planned: Job, now: float, before: Unit) -> Unit:
    """As `renewed`, of a job that a person has stopped."""
    unit = renewed(planned, now, before)
    unit.state = replace(unit.state, phase=job.Phase.DONE, deadline=None, want_up=False, asked=True)
    return unit


def update(unit: Unit, planned: Job) -> None:
    """The unit goes on by the rules of `planned`; its health is its caller's to turn off and on. Another `timeout`
    counts from its next run on: nothing that runs is killed by a reload."""
    was, unit.plan = unit.plan, planned
    if was.when != planned.when:
        unit.seen = frozenset()
    if was.restarts != planned.restarts:
        unit.state = replace(unit.state, restarts_left=planned.restarts)


def present(units: Mapping[str, Unit], *, maintenance: bool, watches: Mapping[str, bool]) -> Iterator[facts.Fact]:
    """What holds now, as the facts that a unit would have heard had it been there. Only what lasts: a start, a change
    or a stop is over once it is heard."""
    yield facts.SupervisorStarted()
    if maintenance:
        yield facts.MaintenanceEntered()
    for watch, healthy in watches.items():
        yield facts.WatchHealthy(watch) if healthy else facts.WatchUnhealthy(watch)
    for name, unit in units.items():
        if unit.health.status is health.Status.HEALTHY:
            yield facts.Healthy(name)
        elif unit.health.status is health.Status.UNHEALTHY:
            yield facts.Unhealthy(name, unit.health.output, unit.health.failures)
        if unit.over and not unit.going and unit.state.status is not None:
            status = unit.state.status
            yield facts.JobFailed(name, status) if status else facts.JobSucceeded(name)


def offer_present(unit: Unit, holding: Iterator[facts.Fact]) -> bool:
    """Whether its `when` is true already. An `each` waits for what comes, but for the start, which was."""
    true = False
    for fact in holding:
        if not unit.plan.when.each or isinstance(fact, facts.SupervisorStarted):
            unit.seen, now_true = when.offer(unit.plan.when, unit.seen, fact)
            true = true or now_true
    return true
