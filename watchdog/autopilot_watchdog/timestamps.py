"""Convert between epoch seconds and the texts that engines, labels, logs and people use for time.

Every module of the watchdog keeps time as seconds since the epoch (UTC); only this one formats and parses it.
"""

from __future__ import annotations

import datetime

UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))  # with their seconds, largest first


def parse_timestamp(text: str) -> float:
    """Return the epoch seconds of an ISO 8601 date or time; without a zone it is UTC.

    Fractions of a second may have any number of digits; microseconds are kept.

    Raises:
        ValueError: The text is neither a date nor a time.
    """
    moment = datetime.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def format_timestamp(seconds: float) -> str:
    """Format epoch seconds as 2026-12-01T12:00:00.000Z."""
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def format_date(seconds: float) -> str:
    """Format the day of epoch seconds as 2026-12-01, in UTC."""
    return format_timestamp(seconds).partition("T")[0]


def format_age(seconds: float) -> str:
    """Format a duration with its two largest units: 3d4h, 5m12s."""
    parts: list[str] = []
    rest = max(0, int(seconds))
    for unit, size in UNITS:
        amount, rest = divmod(rest, size)
        if amount or (unit == "s" and not parts):
            parts.append(f"{amount}{unit}")
    return "".join(parts[:2])
