"""ClassAds in long form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor.classads import get_payload_id, parse_ad, parse_ads, parse_literal, quote_string

PRINTABLE = st.text(st.characters(min_codepoint=32, blacklist_characters="\x7f\x85\u2028\u2029"))


@given(PRINTABLE)
def test_a_quoted_string_reads_back(text: str) -> None:
    """Whatever can be quoted is the same again after parsing."""
    assert parse_literal(quote_string(text)) == text


@given(st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_and_booleans_read_back(value: float) -> None:
    """Literals keep their value and their kind."""
    assert parse_literal(str(value)) == value


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    """Tools mix warnings into their output: it is read or left out, never an error."""
    parse_ad(text.split("\n"))
    list(parse_ads(text))


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\r"])
def test_a_value_cannot_forge_an_attribute(separator: str) -> None:
    """Only a line feed ends a line: other characters that part lines elsewhere belong to the value."""
    text = f'GlobalJobId = "real"\nCmd = "x{separator}GlobalJobId = \\"forged\\""\n'
    assert [ad["GlobalJobId"] for ad in parse_ads(text)] == ["real"]
    forged = f'GlobalJobId = "real"\nCmd = "x"{separator}GlobalJobId = "forged"\n'
    assert [ad["GlobalJobId"] for ad in parse_ads(forged)] == ["real"]


def test_expressions_lists_and_warnings_are_left_out() -> None:
    """Only literals are values; a line without an attribute is a tool's chatter."""
    lines = [
        'A = "x"',
        "B = TARGET.C > 3",
        "L = { 1, 2 }",
        "U = undefined",
        "WARNING: slow = yes",
        "N = 3",
        "R = 1.5e3",
    ]
    assert parse_ad(lines) == {"A": "x", "N": 3, "R": 1500.0}


def test_ads_are_parted_by_empty_lines() -> None:
    """Two slots, two ads; empty blocks are none."""
    text = 'Name = "slot1"\nCpus = 1\n\n\nName = "slot2"\n\n'
    assert [ad["Name"] for ad in parse_ads(text)] == ["slot1", "slot2"]


@pytest.mark.parametrize(
    ("ad", "name"),
    [
        ({"GlobalJobId": "s#1.0#5", "ClusterId": 1, "ProcId": 0}, "s#1.0#5"),
        ({"ClusterId": 7, "ProcId": 2}, "7.2"),
        ({"GlobalJobId": "", "ClusterId": 7, "ProcId": 2}, "7.2"),
        ({"ClusterId": 7}, None),
        ({}, None),
    ],
)
def test_a_payload_is_named_as_uniquely_as_its_ad_allows(ad: dict[str, str | int], name: str | None) -> None:
    """GlobalJobId is unique over all schedds; cluster and process are better than nothing."""
    assert get_payload_id(ad) == name


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "a\rb"])
def test_what_would_leave_the_literal_is_refused(text: str) -> None:
    """A line's end inside a constraint would be another line."""
    with pytest.raises(ValueError, match="control character"):
        quote_string(text)
