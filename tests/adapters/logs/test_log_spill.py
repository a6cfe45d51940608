"""Lines on the disk stay in order, within their bound, and are there for the next life."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.logs import log_spill
from autopilot.adapters.logs.log_spill import LENGTH_BYTES, LogSpill

MAX_BYTES = 2000
FRAMES = st.binary(max_size=120)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), FRAMES),
        st.tuples(st.just("take"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("put_first"), st.lists(FRAMES, max_size=20)),
    ),
    max_size=30,
)


def open_spill(folder, max_bytes=MAX_BYTES):
    return LogSpill(Path(folder) / "spill", max_bytes, print)


def take_all(spill):
    """Take out all lines, as the sender does."""
    frames = []
    while not spill.is_empty:
        frames += spill.read_first()
        spill.drop_first()
    return frames


@given(steps=STEPS, segment_bytes=st.sampled_from([1, 100, 10_000]))
def test_order_and_bound(steps, segment_bytes):
    """Through additions, removals and new lives, lines come out as they went in, and the size stays below its bound."""
    with tempfile.TemporaryDirectory() as folder:
        log_spill.SEGMENT_BYTES, before = segment_bytes, log_spill.SEGMENT_BYTES
        try:
            spill, expected = open_spill(folder), deque[bytes]()
            for step, value in steps:
                if step == "append":
                    if spill.append(value):
                        expected.append(value)
                    else:
                        assert spill.size_bytes + len(value) + LENGTH_BYTES > MAX_BYTES
                elif step == "take" and not spill.is_empty:
                    for frame in spill.read_first():
                        assert frame == expected.popleft()
                    spill.drop_first()
                elif step == "reopen":
                    spill.close()
                    spill = open_spill(folder)
                elif step == "put_first":
                    kept = len(value) - spill.put_first(value)
                    expected.extendleft(reversed(value[:kept]))
                assert spill.size_bytes <= MAX_BYTES
                assert spill.size_bytes == sum(len(frame) + LENGTH_BYTES for frame in expected)
            assert take_all(spill) == list(expected)
            spill.close()
        finally:
            log_spill.SEGMENT_BYTES = before


def test_lines_added_while_a_segment_is_sent(tmp_path):
    """A line that comes while the only segment is being sent is not removed with it."""
    spill = open_spill(tmp_path)
    spill.append(b"1")
    assert spill.read_first() == [b"1"]
    spill.append(b"2")
    spill.drop_first()
    assert take_all(spill) == [b"2"]


def test_damaged_segment(tmp_path):
    """Of a segment with a torn end, as after a power failure, the whole lines are sent; a planted link is not read."""
    spill = open_spill(tmp_path)
    for frame in (b"1", b"2", b"3"):
        spill.append(frame)
    spill.close()
    (segment,) = (tmp_path / "spill").iterdir()
    segment.write_bytes(segment.read_bytes()[:-1])
    os.symlink("/etc/passwd", tmp_path / "spill" / segment.name.replace("0.lines", "1.lines"))
    (tmp_path / "spill" / "foreign").write_text("not ours")
    spill = open_spill(tmp_path)
    assert take_all(spill) == [b"1", b"2"]
    assert {path.name for path in (tmp_path / "spill").iterdir()} == {"foreign", segment.name.replace("0.li", "1.li")}


def test_full_disk(tmp_path, monkeypatch):
    """A line that the disk takes only in part leaves nothing behind: the lines around it are whole."""
    spill = open_spill(tmp_path)
    spill.append(b"before")
    write, room = os.write, [3]

    def write_some(descriptor, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        count = write(descriptor, data[: room[0]])
        room[0] -= count
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_some)
        assert not spill.append(b"refused")
    assert spill.append(b"after")
    assert take_all(spill) == [b"before", b"after"] and spill.size_bytes == 0


def test_rest_of_a_segment(tmp_path, monkeypatch):
    """The rest of a segment is written before the segment goes, and a disk that refuses it leaves the segment whole."""
    spill, frames = open_spill(tmp_path), [b"1", b"2", b"3"]
    for frame in frames:
        spill.append(frame)
    assert spill.read_first() == frames
    spill.append(b"4")

    def refuse(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        spill.replace_first([b"3"])
    assert spill.read_first() == frames
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)  # a kill before the segment is removed
        spill.replace_first([b"3"])
    spill.close()
    spill = open_spill(tmp_path)
    assert take_all(spill) == [b"3", *frames, b"4"] and spill.size_bytes == 0
