"""Derive the outcome of a life, its reason and exit code, from the end that it came to."""

from __future__ import annotations

from collections.abc import Mapping

from autopilot.machines.actions import Outcome
from autopilot.machines.events import GateFailed
from autopilot.machines.job_record import JobRecord

EX_NEVER_RAN = 1  # the work never ran: its wait timed out, or could never end
EX_UNAVAILABLE = 69  # a check failed and its job asked for a shutdown
MAX_CAUSES = 5  # of a job that never ran: each job waited for the next one
EX_TEMPFAIL = 75  # the drain was forced at its deadline, payloads were lost, or something outside was missing
EX_CONFIG = 78  # a gate says that the image, or its configuration, is wrong


def build_stop_outcome(requested_by: str) -> Outcome:
    """Build the outcome of a life that is stopped by request."""
    return Outcome("signal", f"stopped by {requested_by}", 0)


def build_drain_outcome(reason: str, *, forced: bool, cause: str = "") -> Outcome:
    """Build the outcome of a life that ends with its drain.

    Args:
        reason: The reason of the drain.
        forced: The deadline ended payloads.
        cause: More about the reason; may be "".
    """
    detail = f"{cause}, drained" if cause else "drained"
    return Outcome(reason, f"{detail}, forced", EX_TEMPFAIL) if forced else Outcome(reason, detail, 0)


def add_losses(outcome: Outcome, lost: int) -> Outcome:
    """Return the outcome of a life in which `lost` payloads were lost: none of them ended well, so the life did not.

    A payload is lost when the batch system crashed under it. Payloads that a stop gives back in order are not lost.
    """
    if not lost:
        return outcome
    return Outcome(outcome.reason, f"{outcome.detail}, payloads lost: {lost}", outcome.code or EX_TEMPFAIL)


def build_check_outcome(job: str, output: str) -> Outcome:
    """Build the outcome of a life that a failed check ends."""
    return Outcome("check-failed", f"{job} is unhealthy: {output}", EX_UNAVAILABLE)


def build_gate_outcome(event: GateFailed) -> Outcome:
    """Build the outcome of a life that a gate ends: `preflight` is no fault of the image, `gate-failed` is one."""
    detail = f"check {event.gate} has not passed: {event.output}{f'; {event.remedy}' if event.remedy else ''}"
    if event.on_failure == "failed":
        return Outcome("gate-failed", detail, EX_CONFIG)
    return Outcome("preflight", detail, EX_TEMPFAIL)


def build_essential_job_outcome(record: JobRecord, records: Mapping[str, JobRecord]) -> Outcome:
    """Build the outcome of a life whose essential job is over.

    The job's status is the exit code, unless its end was requested. A job that never ran has no status: it has failed.

    Args:
        record: The essential job.
        records: All jobs by name.
    """
    if record.state.given_up:
        cause = _describe_given_up(record, records)
        return Outcome("job-failed", f"essential job {record.plan.name} never ran: {cause}", EX_NEVER_RAN)
    name, status = record.plan.name, record.state.status or 0
    if record.state.stop_requested or status == 0:
        return Outcome("completed", f"essential job {name} is over", 0)
    return _build_failure_outcome(record, f"essential job {name} ended with status {status}")


def build_all_jobs_outcome(records: Mapping[str, JobRecord]) -> Outcome:
    """Build the outcome of a life whose jobs are all over.

    The first failed job, in the file's order, gives the exit code. A life in which no job ever ran has failed, too.
    """
    for record in records.values():
        if record.state.status and not record.state.stop_requested:
            name, status = record.plan.name, record.state.status
            return _build_failure_outcome(record, f"all jobs are over; {name} ended with status {status}")
    given_up = [record for record in records.values() if record.state.given_up]
    if given_up and not any(record.state.run and record.plan.command.argv for record in records.values()):
        causes = "; ".join(f"{record.plan.name}: {_describe_given_up(record, records)}" for record in given_up)
        return Outcome("job-failed", f"no job ever ran: {causes}", EX_NEVER_RAN)
    return Outcome("completed", "all jobs are over", 0)


def _describe_given_up(record: JobRecord, records: Mapping[str, JobRecord], told_names: set[str] | None = None) -> str:
    """Return the reason why a job never ran, with the ends of the jobs that it waited for, and with their reasons.

    Each reason is given once, and MAX_CAUSES of them at most: all jobs may wait for all others.

    Args:
        record: The job.
        records: All jobs, by name.
        told_names: The jobs whose reasons are given already.
    """
    told_names = {record.plan.name} if told_names is None else told_names
    sources = dict.fromkeys(trigger.source for trigger in record.missing_triggers)
    ends = [
        _describe_end(records[name], records, told_names)
        for name in sources
        if name in records and records[name].is_done
    ]
    return ", and ".join([record.state.given_up, *ends])


def _describe_end(record: JobRecord, records: Mapping[str, JobRecord], told_names: set[str]) -> str:
    name, state = record.plan.name, record.state
    if state.given_up and name not in told_names and len(told_names) <= MAX_CAUSES:
        told_names.add(name)
        return f"{name} never ran: {_describe_given_up(record, records, told_names)}"
    if state.given_up or not state.run:
        return f"{name} never ran"
    return f"{name} ended" if state.status is None else f"{name} ended with {state.status}"


def _build_failure_outcome(record: JobRecord, detail: str) -> Outcome:
    status = record.state.status or 0
    if record.state.oom:
        return Outcome("oom", f"{detail}: the container ran out of memory", status)
    return Outcome("job-failed", detail, status)
