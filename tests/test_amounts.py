"""Durations and counts read as people say them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.amounts import format_count, format_seconds
from autopilot.spec.quantities import parse_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (0.2, "0.2 s"), (1.5, "1.5 s"), (90, "90 s"), (120.0, "120 s"), (150, "2m30s"), (3600, "1h")),
        *((86400, "24h"), (259200.0, "72h"), (97398.365, "27h3m18s"), (1e300, "1e+300 s"), (float("inf"), "inf s")),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Seconds up to two minutes, then hours, minutes and seconds without the empty parts."""
    assert format_seconds(seconds) == text


@given(st.integers(0, 10**9))
def test_durations_can_be_written_in_a_job_spec(seconds: int) -> None:
    """A duration that is shown means the same in a job spec."""
    assert parse_duration(format_seconds(seconds).replace(" ", "")) == seconds


def test_counts() -> None:
    """One thing is singular, none and several are plural."""
    assert [format_count(number, "job") for number in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
