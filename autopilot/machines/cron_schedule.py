"""Runs at times of the calendar: `when: {cron: ...}`.

Theory of operation. A job that waits for its time looks at the wall clock at least once in LOOK seconds, as cron
itself does, because nobody tells when that clock is set. A time that has come less than LATE ago is run; times that
were passed while the job still ran, or by a clock that was set forward, are skipped and counted. After a clock that
was set back no time is run twice, unless it was set back by more than SET_BACK: then the earlier clock was wrong.

All here are seconds of the wall clock (since the epoch), which the core is told with every turn. Which times an
expression names is the caller's `next_time`: it alone knows calendars and time zones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autopilot.spec.plan import When

CLOCK_CHECK_INTERVAL_S = 60.0  # s between two looks at the wall clock, at most
MAX_LATE_S = 60.0  # s after its time that a run still begins
MAX_SET_BACK_S = 3 * 3600.0  # s, as Debian's cron
MAX_COUNTED_TIMES = 1000  # times that are counted when many were passed

NextTime = Callable[[When, float], float | None]  # the first time after a moment, None: never again


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock beside ours: `ahead` seconds later than `now`."""

    wall_offset: float
    next_time: NextTime


@dataclass(frozen=True, slots=True)
class NextRun:
    """The next time of a job. `looked`: what the wall clock showed when it was last seen."""

    due: float
    checked_at: float


@dataclass(frozen=True, slots=True)
class ClockCheck:
    """What a look at the clock gives. `upcoming` None: there is no time any more."""

    next_run: NextRun | None
    is_due: bool = False
    skipped: int = 0


def check_clock(when: When, planned: NextRun | None, wall: float, next_time: NextTime) -> ClockCheck:
    """Of a job that waits. With `came` the appointment is that of the run that begins now."""
    if planned is None or wall < planned.checked_at - MAX_SET_BACK_S:
        return ClockCheck(_find_next_run(when, wall, wall, next_time))
    if wall < planned.due:
        return ClockCheck(NextRun(planned.due, wall))
    passed, last = _count_passed(when, planned.due, wall, next_time)
    if wall - last <= MAX_LATE_S:
        return ClockCheck(NextRun(last, wall), is_due=True, skipped=passed)
    return ClockCheck(_find_next_run(when, wall, wall, next_time), skipped=passed + 1)


def plan_next_run(when: When, previous: NextRun | None, started: float, wall: float, next_time: NextTime) -> ClockCheck:
    """Of a job whose run has ended: what came while it ran is skipped. `held`: the time this run was for, if any."""
    skipped, _ = _count_passed(when, started, wall, next_time)
    ran_for = previous.due if previous is not None and previous.due - wall <= MAX_SET_BACK_S else wall
    return ClockCheck(_find_next_run(when, max(wall, ran_for), wall, next_time), skipped=skipped)


def _find_next_run(when: When, after: float, wall: float, next_time: NextTime) -> NextRun | None:
    due = next_time(when, after)
    return None if due is None else NextRun(due, wall)


def _count_passed(when: When, after: float, wall: float, next_time: NextTime) -> tuple[int, float]:
    """How many times lie after a moment, up to now, and the last of them (the moment itself, when there is none)."""
    count, last = 0, after
    while count < MAX_COUNTED_TIMES:
        upcoming = next_time(when, last)
        if upcoming is None or upcoming > wall:
            break
        count, last = count + 1, upcoming
    return count, last
