"""Bytes to lines: nothing lost, nothing unbounded."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from autopilot.process.line_buffer import CONTROL_ESCAPES, LineSplitter, escape_controls, escape_json

LIMIT = 8
TEXTS = st.text() | st.text(st.sampled_from("a\t\n\x1b\x7f\x9b\u2028\u202e\u2066"))
chunks = st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\x00", b"\n")), max_size=20)


@given(chunks)
def test_nothing_is_lost(data):
    """However the bytes come, the lines hold all of them in order, whole where they are short enough."""
    splitter = LineSplitter(LIMIT)
    lines = [line for chunk in data for line in splitter.feed(chunk)] + splitter.take_rest()
    assert b"".join(lines) == b"".join(data).replace(b"\n", b"")
    short = [line for line in b"".join(data).split(b"\n") if 0 < len(line) <= LIMIT]
    assert not set(short) - set(lines)


@given(chunks)
def test_nothing_is_unbounded(data):
    """No piece is longer than the limit, and never more than the limit is kept back."""
    splitter = LineSplitter(LIMIT)
    for chunk in data:
        assert all(len(line) <= LIMIT for line in splitter.feed(chunk))
    assert sum(map(len, splitter.take_rest())) <= LIMIT


def test_rest_is_said_once():
    """An unterminated last line is given once."""
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntwo") == [b"one"]
    assert splitter.take_rest() == [b"two"]
    assert splitter.take_rest() == []


@given(TEXTS)
def test_no_control_remains(text):
    """Written out, a text holds no control but tabs; written as JSON, it is the same value too."""
    controls = {chr(code) for code in CONTROL_ESCAPES}
    assert not controls & {*escape_controls(text)}
    written = escape_json(json.dumps(text, ensure_ascii=False))
    assert not controls & {*written}
    assert json.loads(written) == text
