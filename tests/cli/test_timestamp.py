"""Times as a person writes them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from autopilot.cli.timestamp import parse_typed_time
from autopilot.timestamps import parse_timestamp

NOW = datetime(2026, 1, 31, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00.309Z", "2026-01-31T12:00:00.309Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31 12:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("9:05", "2026-01-31T09:05:00Z"),
        ("12:00:30", "2026-01-31T12:00:30Z"),
        ("90m", "2026-01-31T14:00:00Z"),
        ("2d", "2026-01-29T15:30:00Z"),
    ],
)
def test_moments(written, read):
    """A moment is an ISO time, a time of today, or so long ago; without a zone it is UTC."""
    assert parse_typed_time(written, NOW) == parse_timestamp(read)


@pytest.mark.parametrize("written", ["yesterday", "", "25:00", "2026-13-01", "2x", "-2h"])
def test_no_moments(written):
    """Anything else is refused."""
    assert parse_typed_time(written, NOW) is None
