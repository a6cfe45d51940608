"""Syslog messages: right by RFC 5424 for every line that a program may write."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.logs.log_entry import ForwardedLine
from autopilot.adapters.logs.syslog_format import MAX_DATAGRAM_BYTES, MAX_STREAM_MESSAGE_BYTES, SyslogFormat

FORM = SyslogFormat(facility="local0", hostname="wn-01", context={"slot": "wn-01", "image_digest": "sha256:1"})
NAME = r"[!-~]{1,%d}"
VALUE = r'(?:[^"\\\]]|\\["\\\]])*'
MESSAGE = re.compile(
    rf"<(\d{{1,3}})>1 (\S+Z) ({NAME % 255}) ({NAME % 48}) ({NAME % 128}) ({NAME % 32}) "
    rf'(-|\[autopilot@32473(?: [!#-<>-\\^-~]{{1,32}}="{VALUE}")+\]) (.*)',
    re.DOTALL,
)
TEXTS = st.text(max_size=300)
LINES = st.builds(
    ForwardedLine,
    st.floats(0, 4e9),
    st.sampled_from(["debug", "info", "warning", "error", "critical", "other"]),
    TEXTS,
    TEXTS,
    st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS, max_size=5),
)


def parse(message):
    """Return the parts of a message; fail if it is none."""
    match = MESSAGE.fullmatch(message.decode())
    assert match, message
    return match.groups()


def test_message():
    """A job's line has the job as its application, its pid, and everything else as structured data."""
    line = ForwardedLine(1.5, "info", "", 'a "b"', {"job": "web", "stream": "stdout", "pid": 7, "file": None})
    assert FORM.format_datagram(line) == (
        b"<134>1 1970-01-01T00:00:01.500000Z wn-01 web 7 - "
        b'[autopilot@32473 job="web" stream="stdout" slot="wn-01" image_digest="sha256:1"] a "b"'
    )


def test_message_of_the_supervisor():
    """A line of the supervisor has its event id as message id, and its level as severity."""
    parts = parse(FORM.format_datagram(ForwardedLine(0, "error", "job_failed", "job web failed", {"reason": "x]y"})))
    assert parts[0] == str(16 * 8 + 3) and parts[3:6] == ("autopilot", "-", "job_failed")
    assert r'reason="x\]y"' in parts[6]


@given(LINES)
def test_any_line(line):
    """Every line gives one message by RFC 5424, no longer than its limit, and a frame that tells its length."""
    message = FORM.format_datagram(line)
    parse(message)
    assert len(message) <= MAX_DATAGRAM_BYTES or not parse(message)[7], "only a header may be longer"
    length, _, framed = FORM.format_frame(line).partition(b" ")
    assert int(length) == len(framed)
    parse(framed)


def test_long_line():
    """A line that is too long is cut between two characters, and says so."""
    framed = FORM.format_frame(ForwardedLine(0, "info", "", "ü" * 10_000, {})).partition(b" ")[2]
    text = parse(framed)[7]
    assert len(framed) <= MAX_STREAM_MESSAGE_BYTES and text.endswith("ü [cut]")


def test_no_context():
    """Without any field the structured data is the sign for nothing."""
    form = SyslogFormat(facility="daemon", hostname="", context={})
    assert form.format_datagram(ForwardedLine(0, "info", "", "x", {})) == (
        b"<30>1 1970-01-01T00:00:00.000000Z - autopilot - - - x"
    )
