"""The engines' log streams: lines come whole and at once, however the bytes are cut."""

from __future__ import annotations

import struct

from autopilot_watchdog.engine.docker_answers import MAX_LOG_LINE_BYTES, split_log_stream
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\r\0\1\2"), max_size=20), max_size=20)


def build_frame(stream: int, text: bytes) -> bytes:
    """Build one frame of Docker's log stream."""
    return struct.pack(">BxxxI", stream, len(text)) + text


def cut(content: bytes, sizes: list[int]) -> list[bytes]:
    """Cut bytes into chunks of these sizes, and the rest."""
    chunks = []
    for size in sizes:
        chunks.append(content[:size])
        content = content[size:]
    return [chunk for chunk in [*chunks, content] if chunk]


@given(TEXTS, st.lists(st.integers(1, 30), max_size=40), st.lists(st.integers(1, 12), max_size=40))
def test_lines_do_not_depend_on_cuts(lines: list[str], chunk_sizes: list[int], frame_sizes: list[int]) -> None:
    """However frames cut the lines, and chunks the frames, the lines are the same."""
    content = "".join(f"{line}\n" for line in lines).encode()
    framed = b"".join(build_frame(1, part) for part in cut(content, frame_sizes))
    assert list(split_log_stream(cut(framed, chunk_sizes))) == lines


@given(TEXTS, st.lists(st.integers(1, 30), max_size=40))
def test_stream_without_frames(lines: list[str], chunk_sizes: list[int]) -> None:
    """A container with a terminal has a stream without frames."""
    content = "".join(f"{line}\n" for line in lines).encode()
    assert list(split_log_stream(cut(content, chunk_sizes))) == lines


def test_streams_are_kept_apart() -> None:
    """A line of standard error does not end up inside of one of standard output; unfinished lines come at the end."""
    frames = [build_frame(1, b"half"), build_frame(2, b"error\r\n"), build_frame(1, b" line\nrest")]
    assert list(split_log_stream(frames)) == ["error", "half line", "rest"]


def test_endless_line_is_bounded() -> None:
    """A line without an end comes in pieces, so that it does not fill the memory."""
    pieces = list(split_log_stream(build_frame(1, b"x" * 50_000) for _ in range(4)))
    assert "".join(pieces) == "x" * 200_000
    assert max(map(len, pieces)) == MAX_LOG_LINE_BYTES


def test_lines_come_at_once() -> None:
    """A line is there before the stream goes on."""
    lines = split_log_stream(iter([build_frame(1, b"first\nnext "), build_frame(1, b"line\n")]))
    assert next(lines) == "first"
    assert list(lines) == ["next line"]
