"""Secrets do not leave this host."""

from __future__ import annotations

import pytest

from autopilot.adapters.logs.redaction import Redactor

NAMES = ["*TOKEN*", "*password*"]


@pytest.mark.parametrize(
    ("environment", "text", "expected"),
    [
        ({"API_TOKEN": "abc.def+1"}, "got abc.def+1, abcxdef+1", "got [redacted], abcxdef+1"),
        ({"db_password": "hunter22", "HOME": "/root/x"}, "hunter22 in /root/x", "[redacted] in /root/x"),
        ({"A_TOKEN": "secret", "B_TOKEN": "secret-long"}, "secret-long secret", "[redacted] [redacted]"),
        ({"A_TOKEN": "1"}, "1 line", "1 line"),
        ({}, "Bearer eyJhbGci.x", "[redacted]"),
        ({"A_TOKEN": "line one\nline two\n}"}, "got line two, }", "got [redacted], }"),
        ({"A_TOKEN": "line one\nline two"}, "got line one\nline two.", "got [redacted]."),
    ],
)
def test_secrets(environment, text, expected):
    """Values of variables with such names are replaced, with any characters; short ones are words of everybody."""
    assert Redactor([environment], NAMES, [r"Bearer \S+"]).redact(text) == expected


def test_nothing_to_hide():
    """Without secrets and patterns a text stays as it is."""
    assert Redactor([{}], NAMES, []).redact("a|b") == "a|b"
