"""Parse times as people write them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from autopilot.timestamps import parse_timestamp

AGO_PATTERN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class TimestampParam(click.ParamType["float"]):
    """Time as seconds since the epoch: `2026-01-31T12:00:00Z`, `2026-01-31 12:00`, `12:00` (today) or `2h` (ago).

    A time without a time zone is UTC, as in everything that autopilot prints.
    """

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert a text; a wrong one is a usage error."""
        seconds = parse_typed_time(str(value), datetime.now(UTC))
        if seconds is None:
            remedy = "write 2026-01-31T12:00:00Z, '2026-01-31 12:00', 12:00 (today, UTC) or 2h (ago)"
            self.fail(f"{value!r} is no time; {remedy}", param, ctx)
        return seconds


def parse_typed_time(text: str, now: datetime) -> float | None:
    """Return a time as seconds since the epoch; None for a text that is no time."""
    if ago := AGO_PATTERN.fullmatch(text):
        return (now - timedelta(seconds=float(ago[1]) * SECONDS_PER_UNIT[ago[2]])).timestamp()
    if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text):
        text = f"{now:%Y-%m-%d} {text.zfill(5) if len(text) < 6 else text.zfill(8)}"
    return parse_timestamp(text)
