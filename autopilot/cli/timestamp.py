"""Moments as a person writes them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from autopilot.timestamps import parse_timestamp

AGO_PATTERN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class TimestampParam(click.ParamType["float"]):
    """`2026-01-31T12:00:00Z`, `2026-01-31 12:00`, `12:00` (today) or `2h` (ago), as seconds since the epoch. What names
    no time zone is UTC, as all that we print."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = parse_typed_time(str(value), datetime.now(UTC))
        if found is None:
            said = "is no time; write 2026-01-31T12:00:00Z, '2026-01-31 12:00', 12:00 (today, UTC) or 2h (ago)"
            self.fail(f"{value!r} {said}", param, ctx)
        return found


def parse_typed_time(text: str, now: datetime) -> float | None:
    """Return the seconds since the epoch of a time as a person writes it, None for any other text."""
    if ago := AGO_PATTERN.fullmatch(text):
        return (now - timedelta(seconds=float(ago[1]) * SECONDS_PER_UNIT[ago[2]])).timestamp()
    if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text):
        text = f"{now:%Y-%m-%d} {text.zfill(5) if len(text) < 6 else text.zfill(8)}"
    return parse_timestamp(text)
