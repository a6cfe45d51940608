"""Format and parse points in time: seconds since the epoch on one side, ISO 8601 text on the other."""

from __future__ import annotations

import math
import time

MICROSECONDS_PER_SECOND = 1_000_000


def format_timestamp(epoch_s: float, digits: int = 0) -> str:
    """Return a time in UTC as ISO 8601, such as `2026-01-31T12:00:00Z`.

    Args:
        epoch_s: Seconds since the epoch.
        digits: Digits of the fraction of a second, 0 to 6; further ones are cut off, so that no time is given later
            than it was.
    """
    part, whole = math.modf(epoch_s)
    carry, microseconds = divmod(round(part * MICROSECONDS_PER_SECOND), MICROSECONDS_PER_SECOND)
    year, month, day, hour, minute, second = time.gmtime(whole + carry)[:6]
    fraction = f".{microseconds:06d}"[: digits + 1] if digits else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}{fraction}Z"


def format_local_timestamp(epoch_s: float, digits: int = 0) -> str:
    """Return a time in this machine's time zone as RFC 3339, such as `2026-01-31T13:00:00+01:00`; `Z` stands for UTC.

    Args:
        epoch_s: Seconds since the epoch.
        digits: Digits of the fraction of a second, 0, 3 or 6; further ones are cut off.
    """
    from datetime import datetime

    precision = {0: "seconds", 3: "milliseconds", 6: "microseconds"}[digits]
    return datetime.fromtimestamp(epoch_s).astimezone().isoformat(timespec=precision).replace("+00:00", "Z")


def parse_timestamp(text: str) -> float | None:
    """Return the seconds since the epoch of an ISO 8601 time, None for any other text.

    A time without a zone is UTC, as all times that this package writes.
    """
    from datetime import UTC, datetime

    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
