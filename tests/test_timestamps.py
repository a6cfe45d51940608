"""Times as text and back again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.timestamps import format_local_timestamp, format_timestamp, parse_timestamp

EPOCHS = st.floats(0.0, 4_000_000_000.0)  # until 2096
DIGITS = st.integers(0, 6)


@given(EPOCHS, DIGITS)
def test_a_formatted_time_is_read_back(epoch_s, digits):
    """What is read back differs from the time by less than the last digit, and is never later."""
    parsed = parse_timestamp(format_timestamp(epoch_s, digits))
    assert -1e-6 <= epoch_s - parsed < 10.0**-digits + 1e-6


@given(EPOCHS, EPOCHS, DIGITS)
def test_texts_sort_as_their_times(first, second, digits):
    """The alphabetical order of formatted times is the order of the times."""
    earlier, later = sorted((first, second))
    assert format_timestamp(earlier, digits) <= format_timestamp(later, digits)


@given(EPOCHS)
def test_the_standard_library_agrees(epoch_s):
    """The text is what datetime gives for the same time in UTC."""
    expected = datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="microseconds")
    assert format_timestamp(epoch_s, 6) == expected.replace("+00:00", "Z")


@given(EPOCHS, st.sampled_from([0, 3, 6]))
def test_a_local_time_is_read_back(epoch_s, digits):
    """A time with the offset of this machine's zone is the same time."""
    parsed = parse_timestamp(format_local_timestamp(epoch_s, digits))
    assert -1e-6 <= epoch_s - parsed < 10.0**-digits + 1e-6


@given(st.text())
def test_any_text_is_a_time_or_none(text):
    """No text makes the parser fail."""
    assert parse_timestamp(text) is None or isinstance(parse_timestamp(text), float)


@pytest.mark.parametrize(
    ("epoch_s", "digits", "text"),
    [
        (0.0, 0, "1970-01-01T00:00:00Z"),
        (1.9999999, 0, "1970-01-01T00:00:02Z"),  # microseconds are the finest that a float of today holds
        (1.999999, 3, "1970-01-01T00:00:01.999Z"),
        (1769860800.25, 6, "2026-01-31T12:00:00.250000Z"),
    ],
)
def test_formats(epoch_s, digits, text):
    """A fraction has as many digits as are asked for; further ones are cut off."""
    assert format_timestamp(epoch_s, digits) == text


def test_a_time_without_a_zone_is_utc():
    """The zone of the machine does not change how a time without a zone is read."""
    assert parse_timestamp("2026-01-31 12:00") == parse_timestamp("2026-01-31T13:00:00+01:00") == 1769860800.0
    assert parse_timestamp("") is None
