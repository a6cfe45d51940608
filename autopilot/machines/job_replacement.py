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

from autopilot.machines import events, health, job, triggers
from autopilot.machines.job_record import JobRecord
from autopilot.machines.plan_changes import must_restart
from autopilot.spec.plan import Job

REARMABLE_PHASES = frozenset({job.Phase.WAITING, job.Phase.DELAYED, job.Phase.RESTING})


class ReloadStep(Enum):
    KEEP = "goes on, by the new rules"
    START_NOW = "starts at once instead of waiting for its back-off"
    REARM = "begins anew"
    REPLACE = "is stopped, then begins anew"
    STOP = "is stopped for good"
    REMOVE = "is not there any more"


def choose_reload_step(record: JobRecord, planned: Job | None, *, stopped_by_operator: bool) -> ReloadStep:
    """`planned`: the job of that name in the new plan; `held`: a person stopped it."""
    phase = record.state.phase
    if record.being_replaced:
        return ReloadStep.STOP if planned is None else ReloadStep.REPLACE
    if planned is None:
        return ReloadStep.STOP if phase in job.ALIVE_PHASES else ReloadStep.REMOVE
    other_process = must_restart(record.plan, planned)
    if phase in job.ALIVE_PHASES:
        return ReloadStep.REPLACE if other_process else ReloadStep.KEEP
    if phase is job.Phase.BACKOFF:
        return ReloadStep.START_NOW if other_process else ReloadStep.KEEP
    other_time = record.plan.when != planned.when
    if phase in REARMABLE_PHASES:
        return ReloadStep.REARM if other_time else ReloadStep.KEEP
    again = other_process or other_time or record.plan.restarts != planned.restarts or record.state.run == 0
    return ReloadStep.REARM if again and not stopped_by_operator else ReloadStep.KEEP


def build_record(planned: Job, now: float, previous: JobRecord | None = None) -> JobRecord:
    """A unit that waits for its `when`. It counts its runs from those `before`: their late news are not for it."""
    state = job.build_initial_state(planned, now)
    if previous is not None:
        state = replace(state, run=previous.state.run, restarts=previous.state.restarts)
    return JobRecord(planned, state, health.HealthState())


def build_stopped_record(planned: Job, now: float, previous: JobRecord) -> JobRecord:
    """As `renewed`, of a job that a person has stopped."""
    unit = build_record(planned, now, previous)
    unit.state = replace(unit.state, phase=job.Phase.DONE, deadline=None, want_up=False, stop_requested=True)
    return unit


def update_rules(record: JobRecord, planned: Job) -> None:
    """The unit goes on by the rules of `planned`; its health is its caller's to turn off and on. Another `timeout`
    counts from its next run on: nothing that runs is killed by a reload."""
    was, record.plan = record.plan, planned
    if was.when != planned.when:
        record.matched_triggers = frozenset()
    if was.restarts != planned.restarts:
        record.state = replace(record.state, restarts_remaining=planned.restarts)


def list_current_events(
    job_records: Mapping[str, JobRecord], *, maintenance: bool, watches: Mapping[str, bool]
) -> Iterator[events.Event]:
    """What holds now, as the facts that a unit would have heard had it been there. Only what lasts: a start, a change
    or a stop is over once it is heard."""
    yield events.SupervisorStarted()
    if maintenance:
        yield events.MaintenanceEntered()
    for watch, healthy in watches.items():
        yield events.WatchHealthy(watch) if healthy else events.WatchUnhealthy(watch)
    for name, unit in job_records.items():
        if unit.health.status is health.Status.HEALTHY:
            yield events.Healthy(name)
        elif unit.health.status is health.Status.UNHEALTHY:
            yield events.Unhealthy(name, unit.health.output, unit.health.failures)
        if unit.is_done and not unit.being_replaced and unit.state.status is not None:
            status = unit.state.status
            yield events.JobFailed(name, status) if status else events.JobSucceeded(name)


def apply_current_events(record: JobRecord, current_events: Iterator[events.Event]) -> bool:
    """Whether its `when` is true already. An `each` waits for what comes, but for the start, which was."""
    true = False
    for fact in current_events:
        if not record.plan.when.each or isinstance(fact, events.SupervisorStarted):
            record.matched_triggers, now_true = triggers.apply_event(record.plan.when, record.matched_triggers, fact)
            true = true or now_true
    return true
