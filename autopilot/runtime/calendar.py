"""Which times a cron expression names, in which time zone. Only jobs with `cron` load what it needs, 8 ms."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from autopilot.spec import zones
from autopilot.spec.plan import When

if TYPE_CHECKING:
    from datetime import tzinfo

LOCALTIME = "/etc/localtime"


def next_time(when: When, after: float) -> float | None:
    """The first time after a moment, both in seconds since the epoch; None: never in the next 50 years."""
    from datetime import datetime

    from cronsim import CronSim

    assert when.cron is not None, "asked of jobs that have one"
    zone = local_zone() if when.timezone is None else zones.named(when.timezone)
    found = next(CronSim(when.cron, datetime.fromtimestamp(after, zone)), None)
    return None if found is None else found.timestamp()


@cache
def local_zone() -> tzinfo:
    """This machine's: $TZ, /etc/localtime, else UTC."""
    from zoneinfo import ZoneInfo

    try:
        if os.environ.get("TZ"):
            return zones.named(os.environ["TZ"].removeprefix(":"))
        with open(LOCALTIME, "rb") as file:
            return ZoneInfo.from_file(file)
    except (LookupError, OSError, ValueError):
        return zones.named("UTC")
