"""Compute the back-off between the runs of a job that keeps ending.

A streak counts runs in a row that ended sooner than `reset_after`. The delay grows with the streak, and one draw of
jitter keeps a site's containers from moving in step. A streak of CRASH_LOOP_FAILURES is reported, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from autopilot.retry_delay import RetryDelay
from autopilot.spec.plan import Backoff

CRASH_LOOP_FAILURES = 5


@dataclass(frozen=True, slots=True)
class FailureStreak:
    """Number of runs in a row that ended too soon."""

    failures: int = 0


def compute_backoff(
    backoff: Backoff, streak: FailureStreak, *, run_seconds: float, draw: float
) -> tuple[FailureStreak, float, bool]:
    """Compute the delay before the next run.

    Args:
        backoff: The job's rules.
        streak: The streak before the run that has ended.
        run_seconds: Length of that run.
        draw: Uniform in [0, 1): 0 shortens the delay by the jitter's whole share, 1 lengthens it by as much.

    Returns:
        The new streak, the delay in seconds, and True when a crash loop begins.
    """
    failures = 1 if run_seconds >= backoff.reset_after else streak.failures + 1
    growth = RetryDelay(backoff.initial, backoff.max, backoff.factor, backoff.jitter)
    return FailureStreak(failures), growth.compute(failures, draw), failures == CRASH_LOOP_FAILURES
