"""Plan the runs of a job at times of the calendar, for `when: {cron: ...}`.

Theory of operation. A job that waits for its time checks the wall clock every CLOCK_CHECK_INTERVAL_S, as cron itself
does, because a change of that clock is not announced. A time that came at most MAX_LATE_S ago is run; times that passed
while the job still ran, or by a clock that was set forward, are skipped and counted. After a clock that was set back no
time is run twice, unless it was set back by more than MAX_SET_BACK_S: then the earlier clock was wrong.

All times are seconds of the wall clock (since the epoch), which the core gets with every turn. The caller's `next_time`
finds the times of an expression: it alone knows calendars and time zones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autopilot.spec.plan import When

CLOCK_CHECK_INTERVAL_S = 60.0  # s between two checks of the wall clock, at most
MAX_LATE_S = 60.0  # s after its time within which a run still begins
MAX_SET_BACK_S = 3 * 3600.0  # s, as Debian's cron
MAX_COUNTED_TIMES = 1000  # times that are counted at most

NextTime = Callable[[When, float], float | None]  # returns the first time after a moment, None: never again


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock, as `wall_offset` seconds ahead of the core's clock, and its calendar."""

    wall_offset: float
    next_time: NextTime


@dataclass(frozen=True, slots=True)
class NextRun:
    """The next time of a job, and the wall clock's time when it was last checked."""

    due: float
    checked_at: float


@dataclass(frozen=True, slots=True)
class ClockCheck:
    """Result of a check of the clock. `next_run` None: there is no further time."""

    next_run: NextRun | None
    is_due: bool = False
    skipped: int = 0


def check_clock(when: When, planned: NextRun | None, wall: float, next_time: NextTime) -> ClockCheck:
    """Check the clock for a job that waits.

    Args:
        when: The `when` of the job.
        planned: The result of the check before, None for the first one.
        wall: The wall clock's time.
        next_time: Finds the times of the expression.

    Returns:
        The next run; when it is due, it is the one that begins now.
    """
    if planned is None or wall < planned.checked_at - MAX_SET_BACK_S:
        return ClockCheck(_find_next_run(when, wall, wall, next_time))
    if wall < planned.due:
        return ClockCheck(NextRun(planned.due, wall))
    passed, last = _count_passed(when, planned.due, wall, next_time)
    if wall - last <= MAX_LATE_S:
        return ClockCheck(NextRun(last, wall), is_due=True, skipped=passed)
    return ClockCheck(_find_next_run(when, wall, wall, next_time), skipped=passed + 1)


def plan_next_run(when: When, previous: NextRun | None, started: float, wall: float, next_time: NextTime) -> ClockCheck:
    """Plan the next run of a job whose run has ended; the times that passed while it ran are skipped.

    Args:
        when: The `when` of the job.
        previous: The planned run that has ended, None if it was started by request.
        started: The wall clock's time at its beginning.
        wall: The wall clock's time now.
        next_time: Finds the times of the expression.
    """
    skipped, _ = _count_passed(when, started, wall, next_time)
    ran_for = previous.due if previous is not None and previous.due - wall <= MAX_SET_BACK_S else wall
    return ClockCheck(_find_next_run(when, max(wall, ran_for), wall, next_time), skipped=skipped)


def _find_next_run(when: When, after: float, wall: float, next_time: NextTime) -> NextRun | None:
    due = next_time(when, after)
    return None if due is None else NextRun(due, wall)


def _count_passed(when: When, after: float, wall: float, next_time: NextTime) -> tuple[int, float]:
    """Count the times after a moment, up to now.

    Returns:
        The number of times, and the last of them; the moment itself when there is none.
    """
    count, last = 0, after
    while count < MAX_COUNTED_TIMES:
        upcoming = next_time(when, last)
        if upcoming is None or upcoming > wall:
            break
        count, last = count + 1, upcoming
    return count, last
