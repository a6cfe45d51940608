"""Times as text: the engines', the labels', the logs' and people's."""

from __future__ import annotations

import pytest
from autopilot_watchdog.engine.docker_answers import parse_engine_time
from autopilot_watchdog.timestamps import format_age, format_date, format_timestamp, parse_timestamp

NOON = 1_796_126_400.0  # 2026-12-01T12:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-12-01T12:00Z", NOON),
        ("2026-12-01T13:00:00.123456789+01:00", NOON + 0.123456),
        ("2026-12-01T12:00", NOON),
        ("2026-12-01", NOON - 12 * 3600),
    ],
)
def test_parse(text: str, seconds: float) -> None:
    """Zones, fractions of any length, and dates alone are understood; without a zone it is UTC."""
    assert parse_timestamp(text) == pytest.approx(seconds, abs=1e-6)


def test_no_time() -> None:
    """A text that is no time is an error; an engine's year 1, or an empty text of it, means never."""
    with pytest.raises(ValueError):
        parse_timestamp("nwo")
    assert [parse_engine_time(text) for text in ("0001-01-01T00:00:00Z", "", "nwo")] == [0.0] * 3


def test_format() -> None:
    """Times have milliseconds and a Z, ages their two largest units."""
    assert format_timestamp(NOON + 0.0004) == "2026-12-01T12:00:00.000Z"
    assert format_date(NOON) == "2026-12-01"
    assert [format_age(seconds) for seconds in (0, 59.9, 312, 273_600)] == ["0s", "59s", "5m12s", "3d4h"]
