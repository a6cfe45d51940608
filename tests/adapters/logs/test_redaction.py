"""Secrets do not leave this host."""

from __future__ import annotations

import pytest

from autopilot.adapters.logs.redaction import PatternTime, Redactor

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


@pytest.mark.parametrize(
    ("patterns", "text", "expected"),
    [
        (["(?i)password=\\S+", "(?s)BEGIN.*?END"], "PassWord=x and BEGIN\na\nEND.", "[redacted] and [redacted]."),
        ([r"(a)\1", r"(b)\1"], "aa bb ab", "[redacted] [redacted] ab"),
        (["abc", "bcd", "cde"], "xabcdey abc", "x[redacted]y [redacted]"),
        (["x*"], "axxb", "a[redacted]b"),
    ],
)
def test_patterns(patterns, text, expected):
    """Each pattern has flags and groups of its own, and matches that overlap are one secret."""
    assert Redactor([{}], [], patterns).redact(text) == expected
    assert Redactor([{}], [], patterns).redact(text + " " * 600) == expected + " " * 600


def test_nothing_to_hide():
    """Without secrets and patterns a text stays as it is."""
    assert Redactor([{}], NAMES, []).redact("a|b") == "a|b"


def test_slow_patterns():
    """Patterns that take more than their share of the time get no more long lines until it is made up."""
    clock = {"now": 0.0, "work": 0.0}

    def read_clocks():
        clock["work"] += 2.0  # so long does each look of the patterns take
        return clock["now"], clock["work"]

    long = "x" * 600
    redactor = Redactor([{}], [], ["pin"], read_clocks=read_clocks)
    assert not redactor.is_too_slow_for(long, {})
    redactor.redact(long)
    assert redactor.is_too_slow_for(long, {}) and redactor.is_too_slow_for("", {"file": long})
    assert not redactor.is_too_slow_for("pin", {"job": "web", "pid": 7}) and redactor.redact("pin") == "[redacted]"
    clock["now"] = 9.0
    assert redactor.is_too_slow_for(long, {})
    clock["now"] = 11.0
    assert not redactor.is_too_slow_for(long, {})
    assert not Redactor([{}], [], []).is_too_slow_for(long, {})


@pytest.mark.parametrize("before", range(8180, 8200))
def test_long_line(before):
    """Of a long line the beginning is sent, and a secret at the cut does not leave in parts."""
    found = Redactor([{}], [], ["pin-[0-9]{4}"]).redact("x" * before + "pin-1234" + "y" * 2000)
    assert found == ("x" * min(before, 8192) + "[redacted]" * (before < 8192) + "y" * max(0, 8184 - before) + " [cut]")


def test_pattern_time():
    """A burst is free, and time beyond the share is paid back."""
    pattern_time = PatternTime()
    pattern_time.add(0.9)
    assert not pattern_time.is_used_up(0.0)
    pattern_time.add(0.2)
    assert pattern_time.is_used_up(0.5)
    assert not pattern_time.is_used_up(2.0)
