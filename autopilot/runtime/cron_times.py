"""Find the times of a cron expression in its time zone. Its libraries are loaded for jobs with `cron` only: 8 ms."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from autopilot.spec import time_zones
from autopilot.spec.plan import Job, When

if TYPE_CHECKING:
    from datetime import tzinfo


def find_next_time(when: When, after: float) -> float | None:
    """Find the first time of a job's `cron` after a moment.

    Args:
        when: The `when` of a job that has `cron`.
        after: The moment, in seconds since the epoch.

    Returns:
        Seconds since the epoch; None when there is no such time in the next 50 years.
    """
    from datetime import datetime

    from cronsim import CronSim

    assert when.cron is not None, "only jobs with cron have times"
    zone = get_local_zone() if when.timezone is None else time_zones.find_zone(when.timezone)
    moment = next(CronSim(when.cron, datetime.fromtimestamp(after, zone)), None)
    return None if moment is None else moment.timestamp()


@cache
def get_local_zone() -> tzinfo:
    """Return the time zone of this machine, UTC if it cannot be determined."""
    try:
        return time_zones.find_local_zone()
    except LookupError:
        return time_zones.find_zone("UTC")


def build_timezone_warning(jobs: Iterable[Job]) -> str | None:
    """Return a sentence on why jobs with `cron` may run at the wrong hour, None if they do not."""
    names = [job.name for job in jobs if job.when.cron is not None and job.when.timezone is None]
    if not names:
        return None
    try:
        time_zones.find_local_zone()
    except LookupError as error:
        return f"cron is taken as UTC ({', '.join(names)}): {error}; or set when.timezone"
    return None
