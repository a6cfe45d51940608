"""Moments as a person writes them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Moment(click.ParamType["float"]):
    """`2026-01-31T12:00:00Z`, `2026-01-31 12:00`, `12:00` (today) or `2h` (ago), as seconds since the epoch. What names
    no time zone is UTC, as all that we print."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = moment(str(value), datetime.now(UTC))
        if found is None:
            said = "is no time; write 2026-01-31T12:00:00Z, '2026-01-31 12:00', 12:00 (today, UTC) or 2h (ago)"
            self.fail(f"{value!r} {said}", param, ctx)
        return found


def epoch(written: str) -> float | None:
    """Seconds since the epoch of a time as our records have it; None for anything else."""
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        return None


def moment(written: str, now: datetime) -> float | None:
    """Seconds since the epoch, None for what is no time."""
    if ago := AGO.fullmatch(written):
        return (now - timedelta(seconds=float(ago[1]) * SECONDS[ago[2]])).timestamp()
    if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", written):
        written = f"{now:%Y-%m-%d} {written.zfill(5) if len(written) < 6 else written.zfill(8)}"
    try:
        read = datetime.fromisoformat(written)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
