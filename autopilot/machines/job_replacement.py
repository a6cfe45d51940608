"""Decide on the effect of a new plan on one job, and build the record that takes its place.

Pure functions; `job_replacer` applies them. A job that a plan removes or replaces is stopped as any job is (its
pre-stop jobs first, its post-stop jobs after). Its successor is armed when all that is over, so that old and new never
overlap. A newly armed job gets the events that still hold: a job that waits for another's health does not wait for ever
because that one has been healthy for an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from enum import Enum

from autopilot.machines import events, health, job, triggers
from autopilot.machines.job_record import JobRecord
from autopilot.machines.plan_changes import must_restart
from autopilot.spec.plan import Job

REARMABLE_PHASES = job.IDLE_PHASES - {job.Phase.BACKOFF}


class ReloadStep(Enum):
    """Effect of a new plan on one job."""

    KEEP = "goes on, by the new rules"
    START_NOW = "starts at once instead of waiting for its back-off"
    REARM = "begins anew"
    REPLACE = "is stopped, then begins anew"
    STOP = "is stopped for good"
    REMOVE = "is removed at once"


def choose_reload_step(record: JobRecord, planned: Job | None, *, stopped_by_operator: bool) -> ReloadStep:
    """Choose the effect of a new plan on a job.

    Args:
        record: The job.
        planned: The job of that name in the new plan.
        stopped_by_operator: True when the job is down by an operator's request, and stays so.
    """
    phase = record.state.phase
    if record.being_replaced:
        return ReloadStep.STOP if planned is None else ReloadStep.REPLACE
    if planned is None:
        return ReloadStep.STOP if record.is_alive else ReloadStep.REMOVE
    other_process = must_restart(record.plan, planned)
    if record.is_alive:
        return ReloadStep.REPLACE if other_process else ReloadStep.KEEP
    if phase is job.Phase.BACKOFF:
        return ReloadStep.START_NOW if other_process else ReloadStep.KEEP
    other_time = record.plan.when != planned.when
    if phase in REARMABLE_PHASES:
        return ReloadStep.REARM if other_time else ReloadStep.KEEP
    again = other_process or other_time or record.plan.restarts != planned.restarts or record.state.run == 0
    return ReloadStep.REARM if again and not stopped_by_operator else ReloadStep.KEEP


def build_record(planned: Job, now: float, previous: JobRecord | None = None) -> JobRecord:
    """Build the record of a job that waits for its `when`.

    Its runs are counted on from those of `previous`, so that late news of those is not taken for its own.
    """
    state = job.build_initial_state(planned, now)
    if previous is not None:
        state = replace(state, run=previous.state.run, restarts=previous.state.restarts)
    return JobRecord(planned, state, health.HealthState())


def build_stopped_record(planned: Job, now: float, previous: JobRecord) -> JobRecord:
    """Build the record of a job that stays stopped, as an operator has asked."""
    record = build_record(planned, now, previous)
    record.state = replace(
        record.state, phase=job.Phase.DONE, deadline=None, want_up=False, stop_requested=True, stop_announced=True
    )
    return record


def update_rules(record: JobRecord, planned: Job) -> None:
    """Let a job go on by the rules of `planned`; the caller turns its health check off and on.

    Another `timeout` counts from the next run on: a reload kills no running process.
    """
    old, record.plan = record.plan, planned
    if old.when != planned.when:
        record.matched_triggers = frozenset()
    if old.restarts != planned.restarts:
        record.state = replace(record.state, restarts_remaining=planned.restarts)


def list_current_events(
    job_records: Mapping[str, JobRecord],
    *,
    maintenance: bool,
    watches: Mapping[str, bool],
    templates: Iterable[str],
) -> Iterator[events.Event]:
    """Yield the events that still hold, as a job would have got them had it been there.

    Only lasting conditions count: a start, a change or a stop is over with its event.
    """
    yield events.SupervisorStarted()
    if maintenance:
        yield events.MaintenanceEntered()
    for watch, healthy in watches.items():
        yield events.WatchHealthy(watch) if healthy else events.WatchUnhealthy(watch)
    for template in templates:
        yield events.TemplateRendered(template)
    for name, record in job_records.items():
        if record.health.status is health.Status.HEALTHY:
            yield events.Healthy(name)
        elif record.health.status is health.Status.UNHEALTHY:
            yield events.Unhealthy(name, record.health.output, record.health.failures)
        if record.is_done and not record.being_replaced and record.state.status is not None:
            status = record.state.status
            yield events.JobFailed(name, status) if status else events.JobSucceeded(name)


def apply_current_events(record: JobRecord, current_events: Iterable[events.Event]) -> bool:
    """Match the triggers of a newly armed job, and return True when its `when` is true already.

    An `each` waits for events to come; of those that hold only the supervisor's start counts.
    """
    met = False
    for event in current_events:
        if not record.plan.when.each or isinstance(event, events.SupervisorStarted):
            record.matched_triggers, met_now = triggers.apply_event(record.plan.when, record.matched_triggers, event)
            met = met or met_now
    return met
