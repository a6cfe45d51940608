"""Parts of sentences: counts, repeats, failed commands."""

from __future__ import annotations

import pytest
from autopilot_watchdog import sentence_parts
from hypothesis import given
from hypothesis import strategies as st


def test_counts_are_singular_and_plural() -> None:
    """One thing is singular, no thing and several things are plural, and one time is once."""
    assert [sentence_parts.format_count(n, "life", "lives") for n in (0, 1, 2)] == ["0 lives", "1 life", "2 lives"]
    assert [sentence_parts.format_count(n, "host") for n in (0, 1, 2)] == ["0 hosts", "1 host", "2 hosts"]
    assert [sentence_parts.format_lives(n) for n in (1, 2)] == ["the last life", "2 lives in a row"]
    assert [sentence_parts.format_times(n) for n in (1, 2)] == ["once", "2 times"]
    assert [sentence_parts.format_repeats(n) for n in (1, 2)] == ["once", "2 times in a row"]


@pytest.mark.parametrize("output", ["", " \n", "\n\t\r\n"])
def test_command_without_output_printed_nothing(output: str) -> None:
    """A command that failed without a visible output says so."""
    sentence = sentence_parts.describe_failed_command(["/bin/check", "-v"], 3, output)
    assert sentence == "/bin/check -v ended with status 3 and printed nothing"


@given(st.text())
def test_sentence_about_a_command_never_ends_open(output: str) -> None:
    """The sentence ends neither with a colon nor with a space, and never holds more output than its bound."""
    sentence = sentence_parts.describe_failed_command("the pre-flight", 1, f"{output}.")
    assert sentence == sentence.strip() and not sentence.endswith(":")
    assert len(sentence) <= len("the pre-flight ended with status 1: ") + sentence_parts.MAX_OUTPUT_CHARS
