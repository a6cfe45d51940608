"""Back-off between the runs of a job that keeps ending.

A streak counts runs in a row that ended sooner than `reset_after`. The delay grows with the streak, and one draw of
jitter keeps a site's containers from moving in step. A streak of CRASH_LOOP is named, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from autopilot.retry_delay import RetryDelay
from autopilot.spec.plan import Backoff

CRASH_LOOP_FAILURES = 5


@dataclass(frozen=True, slots=True)
class FailureStreak:
    failures: int = 0


def compute_backoff(
    backoff: Backoff, streak: FailureStreak, *, run_seconds: float, draw: float
) -> tuple[FailureStreak, float, bool]:
    """The streak after a run of `ran` seconds, the delay (s) before the next, and whether a crash loop begins.

    `draw` is uniform in [0, 1): 0 shortens the delay by the jitter's whole share, 1 lengthens it by as much.
    """
    failures = 1 if run_seconds >= backoff.reset_after else streak.failures + 1
    growth = RetryDelay(backoff.initial, backoff.max, backoff.factor, backoff.jitter)
    return FailureStreak(failures), growth.compute(failures, draw), failures == CRASH_LOOP_FAILURES
