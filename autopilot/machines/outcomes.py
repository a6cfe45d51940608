"""Derive the outcome of a life, its reason and exit code, from the end that it came to."""

from __future__ import annotations

from collections.abc import Iterable

from autopilot.machines.actions import Outcome
from autopilot.machines.job_record import JobRecord

EX_UNAVAILABLE = 69  # a check failed and its job asked for a shutdown
EX_TEMPFAIL = 75  # the drain was forced at its deadline


def build_stop_outcome(requested_by: str) -> Outcome:
    """Build the outcome of a life that is stopped by request."""
    return Outcome("signal", f"stopped by {requested_by}", 0)


def build_drain_outcome(reason: str, *, forced: bool) -> Outcome:
    """Build the outcome of a life that ends with its drain."""
    return Outcome(reason, "drained, forced", EX_TEMPFAIL) if forced else Outcome(reason, "drained", 0)


def build_check_outcome(job: str, output: str) -> Outcome:
    """Build the outcome of a life that a failed check ends."""
    return Outcome("check-failed", f"{job} is unhealthy: {output}", EX_UNAVAILABLE)


def build_essential_job_outcome(record: JobRecord) -> Outcome:
    """Build the outcome of a life whose essential job is over.

    The job's status is the exit code, unless its end was requested.
    """
    name, status = record.plan.name, record.state.status or 0
    if record.state.stop_requested or status == 0:
        return Outcome("completed", f"essential job {name} is over", 0)
    return _build_failure_outcome(record, f"essential job {name} ended with status {status}")


def build_all_jobs_outcome(records: Iterable[JobRecord]) -> Outcome:
    """Build the outcome of a life whose jobs are all over.

    The first failed job, in the file's order, gives the exit code.
    """
    for record in records:
        if record.state.status and not record.state.stop_requested:
            name, status = record.plan.name, record.state.status
            return _build_failure_outcome(record, f"all jobs are over; {name} ended with status {status}")
    return Outcome("completed", "all jobs are over", 0)


def _build_failure_outcome(record: JobRecord, detail: str) -> Outcome:
    status = record.state.status or 0
    if record.state.oom:
        return Outcome("oom", f"{detail}: the container ran out of memory", status)
    return Outcome("job-failed", detail, status)
