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

LOOK = 60.0  # s between two looks at the wall clock, at most
LATE = 60.0  # s after its time that a run still begins
SET_BACK = 3 * 3600.0  # s, as Debian's cron
MOST = 1000  # times that are counted when many were passed

NextTime = Callable[[When, float], float | None]  # the first time after a moment, None: never again


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock beside ours: `ahead` seconds later than `now`."""

    ahead: float
    next_time: NextTime


@dataclass(frozen=True, slots=True)
class Appointment:
    """The next time of a job. `looked`: what the wall clock showed when it was last seen."""

    due: float
    looked: float


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the clock gives. `upcoming` None: there is no time any more."""

    upcoming: Appointment | None
    came: bool = False
    skipped: int = 0


def look(when: When, held: Appointment | None, wall: float, next_time: NextTime) -> Look:
    """Of a job that waits. With `came` the appointment is that of the run that begins now."""
    if held is None or wall < held.looked - SET_BACK:
        return Look(_next(when, wall, wall, next_time))
    if wall < held.due:
        return Look(Appointment(held.due, wall))
    passed, last = _passed(when, held.due, wall, next_time)
    if wall - last <= LATE:
        return Look(Appointment(last, wall), came=True, skipped=passed)
    return Look(_next(when, wall, wall, next_time), skipped=passed + 1)


def after_run(when: When, held: Appointment | None, began: float, wall: float, next_time: NextTime) -> Look:
    """Of a job whose run has ended: what came while it ran is skipped. `held`: the time this run was for, if any."""
    skipped, _ = _passed(when, began, wall, next_time)
    ran_for = held.due if held is not None and held.due - wall <= SET_BACK else wall
    return Look(_next(when, max(wall, ran_for), wall, next_time), skipped=skipped)


def _next(when: When, after: float, wall: float, next_time: NextTime) -> Appointment | None:
    due = next_time(when, after)
    return None if due is None else Appointment(due, wall)


def _passed(when: When, after: float, wall: float, next_time: NextTime) -> tuple[int, float]:
    """How many times lie after a moment, up to now, and the last of them (the moment itself, when there is none)."""
    count, last = 0, after
    while count < MOST:
        upcoming = next_time(when, last)
        if upcoming is None or upcoming > wall:
            break
        count, last = count + 1, upcoming
    return count, last
