"""Secrets do not leave this host."""

from __future__ import annotations

import re
import sys
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.logs.redaction import MAX_SECRETS, PatternTime, Redactor, SecretMemory

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


def test_earlier_secrets():
    """An earlier value stays a secret, since processes still have it; the oldest are forgotten in the end."""
    memory = SecretMemory()
    Redactor([{"A_TOKEN": "old-value"}], NAMES, [], memory=memory)
    redactor = Redactor([{"A_TOKEN": "new-value"}], NAMES, [], memory=memory)
    assert redactor.redact("old-value new-value") == "[redacted] [redacted]"
    assert not memory.add([{"A_TOKEN": "old-value", "HOME": "/root/home"}], NAMES)
    assert memory.add([{f"TOKEN_{number}": f"value-{number}" for number in range(MAX_SECRETS - 1)}], NAMES)
    assert len(memory.secrets) == MAX_SECRETS and "old-value" in memory.secrets and "new-value" not in memory.secrets
    assert memory.add([{f"TOKEN_{number}": f"other-{number}" for number in range(2 * MAX_SECRETS)}], NAMES)
    assert len(memory.secrets) == 2 * MAX_SECRETS and "old-value" not in memory.secrets


def test_slow_patterns():
    """Patterns that take more than their share of the time get no more lines, short or long, until it is made up."""
    clock = {"now": 0.0, "work": 0.0}

    def read_clocks():
        clock["work"] += 2.0  # so long does each look of the patterns take
        return clock["now"], clock["work"]

    redactor = Redactor([{}], [], ["pin"], read_clocks=read_clocks)
    assert not redactor.is_out_of_time()
    assert redactor.redact("pin") == "[redacted]"
    assert redactor.is_out_of_time()
    clock["now"] = 9.0
    assert redactor.is_out_of_time()
    clock["now"] = 11.0
    assert not redactor.is_out_of_time()
    assert not Redactor([{}], [], []).is_out_of_time()


class SpyPattern:
    """A pattern that remembers the lengths that it has seen at once."""

    def __init__(self, pattern):
        self.pattern, self.lengths = re.compile(pattern), []

    def finditer(self, text, start=0, end=sys.maxsize):
        self.lengths.append(min(end, len(text)) - start)
        return self.pattern.finditer(text, start, end)


@pytest.mark.parametrize("length", [512, 1025, 9000, 20000])
def test_windows_are_bounded(length):
    """A pattern never sees more than 1024 characters at once: no match can take longer than these do."""
    redactor, spy = Redactor([{}], [], []), SpyPattern("token.*secret.*=")
    redactor._patterns = [cast("re.Pattern[str]", spy)]
    redactor.redact("token " * (length // 6))
    assert spy.lengths and max(spy.lengths) <= 1024


@given(
    parts=st.lists(st.one_of(st.integers(1, 900).map("x".__mul__), st.integers(3, 512).map(lambda n: f"<{'s' * n}>"))),
)
def test_windows_find_all(parts):
    """Each match of at most 512 characters is found at each place, and nothing else."""
    text = "".join(parts)[:8192]
    assert Redactor([{}], [], ["<s{3,510}>"]).redact(text) == re.sub("<s{3,510}>", "[redacted]", text)


@pytest.mark.parametrize("before", range(0, 2000, 100))
def test_long_secret(before):
    """A match that is longer than a window leaves no part of the secret, wherever it begins."""
    text = "x" * before + "Bearer " + "s" * 3000 + " after"
    found = Redactor([{}], [], [r"Bearer \S+"]).redact(text)
    assert found.startswith("x" * before + "[redacted]") and "s" not in found


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
