"""How long an ordered stop may take: orders one after the other, in each the slowest job."""

from __future__ import annotations

from collections.abc import Iterable

from autopilot.spec.plan import Job


def find_slowest_by_order(jobs: Iterable[Job]) -> list[Job]:
    """The job that decides how long its order takes, for each order, in the order of the stop."""
    slowest: dict[int, Job] = {}
    for job in jobs:
        if job.stop.order not in slowest or compute_stop_time(job) > compute_stop_time(slowest[job.stop.order]):
            slowest[job.stop.order] = job
    return [slowest[order] for order in sorted(slowest)]


def compute_stop_time(job: Job) -> float:
    """The longest one job may take to be gone: the wait for its `stopping` jobs, and the time until its SIGKILL."""
    return job.stop.timeout + (job.stopping_wait or 0.0)


def compute_worst_stop_time(jobs: Iterable[Job]) -> float:
    return sum(map(compute_stop_time, find_slowest_by_order(jobs)))
