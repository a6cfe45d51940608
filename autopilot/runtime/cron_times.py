"""Which times a cron expression names, in which time zone. Only jobs with `cron` load what it needs, 8 ms."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from autopilot.spec import time_zones
from autopilot.spec.plan import Job, When

if TYPE_CHECKING:
    from datetime import tzinfo


def find_next_time(when: When, after: float) -> float | None:
    """The first time after a moment, both in seconds since the epoch; None: never in the next 50 years."""
    from datetime import datetime

    from cronsim import CronSim

    assert when.cron is not None, "asked of jobs that have one"
    zone = get_local_zone() if when.timezone is None else time_zones.find_zone(when.timezone)
    found = next(CronSim(when.cron, datetime.fromtimestamp(after, zone)), None)
    return None if found is None else found.timestamp()


@cache
def get_local_zone() -> tzinfo:
    """This machine's; UTC where nobody can tell."""
    try:
        return time_zones.find_local_zone()
    except LookupError:
        return time_zones.find_zone("UTC")


def build_timezone_warning(jobs: Iterable[Job]) -> str | None:
    """Why jobs with `cron` may run at the wrong hour, in one sentence."""
    names = [job.name for job in jobs if job.when.cron is not None and job.when.timezone is None]
    if not names:
        return None
    try:
        time_zones.find_local_zone()
    except LookupError as error:
        return f"cron is taken as UTC ({', '.join(names)}): {error}; or set when.timezone"
    return None
