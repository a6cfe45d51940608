"""Moments as a person writes them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

AGO_PATTERN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class TimestampParam(click.ParamType["float"]):
    """`2026-01-31T12:00:00Z`, `2026-01-31 12:00`, `12:00` (today) or `2h` (ago), as seconds since the epoch. What names
    no time zone is UTC, as all that we print."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = parse_timestamp(str(value), datetime.now(UTC))
        if found is None:
            said = "is no time; write 2026-01-31T12:00:00Z, '2026-01-31 12:00', 12:00 (today, UTC) or 2h (ago)"
            self.fail(f"{value!r} {said}", param, ctx)
        return found


def parse_epoch(text: str) -> float | None:
    """Seconds since the epoch of a time as our records have it; None for anything else."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def parse_timestamp(text: str, now: datetime) -> float | None:
    """Seconds since the epoch, None for what is no time."""
    if ago := AGO_PATTERN.fullmatch(text):
        return (now - timedelta(seconds=float(ago[1]) * SECONDS_PER_UNIT[ago[2]])).timestamp()
    if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text):
        text = f"{now:%Y-%m-%d} {text.zfill(5) if len(text) < 6 else text.zfill(8)}"
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
