"""Compute how long an ordered stop may take: order by order, the slowest job of each."""

from __future__ import annotations

from collections.abc import Iterable

from autopilot.spec.plan import Job

LOG_FILES_S = 1.0  # for the rest of the followed files, after all jobs have ended
LOG_FLUSH_S = 1.0  # for the last lines to the receivers of the log, after that


def find_slowest_by_order(jobs: Iterable[Job]) -> list[Job]:
    """Return the slowest job of each order, in the sequence of the stop."""
    slowest: dict[int, Job] = {}
    for job in jobs:
        if job.stop.order not in slowest or compute_stop_time(job) > compute_stop_time(slowest[job.stop.order]):
            slowest[job.stop.order] = job
    return [slowest[order] for order in sorted(slowest)]


def compute_stop_time(job: Job) -> float:
    """Return the seconds a job may take to end at most: the wait for its pre-stop jobs, then up to its SIGKILL."""
    return job.stop.timeout + (job.stopping_wait or 0.0)


def compute_worst_stop_time(jobs: Iterable[Job]) -> float:
    """Return the longest time an ordered stop of all jobs may take, in seconds."""
    return sum(map(compute_stop_time, find_slowest_by_order(jobs)))
