"""A command in one string is split at the white space of ASCII, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.spec.command_words import split_words
from autopilot.spec.default_job_names import name_unnamed_jobs
from autopilot.spec.fields import parse_argv


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo a b", ("echo", "a", "b")),
        ("  echo  a\tb \n", ("echo", "a", "b")),
        ("echo a\u00a0b", ("echo", "a\u00a0b")),
        ("echo \u3000 \x85 \x1c", ("echo", "\u3000", "\x85", "\x1c")),
    ],
)
def test_words_of_a_command(command: str, words: tuple[str, ...]) -> None:
    """A sign of Unicode that looks like a space belongs to its word, in the command and in the job's name."""
    assert parse_argv(command) == words
    tree = {"jobs": [{"exec": command}]}
    name_unnamed_jobs(tree)
    assert tree["jobs"][0]["name"] == words[0]


@given(st.text())
def test_nothing_is_lost(command: str) -> None:
    """The words have every character but the separators, and none is empty."""
    words = split_words(command)
    assert all(words)
    assert "".join(words) == "".join(character for character in command if character not in " \t\n\r\f\v")
