"""Test files that are no text: every kind is refused with one clear message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autopilot.spec import SpecError, load


def get_problem(path: Path | str) -> str:
    """Return the only problem of a file that must be refused."""
    with pytest.raises(SpecError) as caught:
        load(path, {})
    (problem,) = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be empty; the smallest job spec is"),
        (b" \n\t ", "cannot be empty; the smallest job spec is"),
        (b"\xef\xbb\xbf", "cannot be empty; the smallest job spec is"),
        (b"x" * (10 << 20), "cannot be larger than 1 MiB"),
        (b"\x7fELF\x00\x01", "cannot be a binary file: it contains a NUL byte at offset 4"),
        (b"\xff\xfe{\x00}\x00", "cannot be UTF-16; save the file as UTF-8"),
    ],
)
def test_not_a_text(tmp_path: Path, data: bytes, message: str) -> None:
    """Empty, huge and binary files are refused, each with its own message."""
    (tmp_path / "spec").write_bytes(data)
    assert message in get_problem(tmp_path / "spec")


def test_not_utf8_has_a_place(tmp_path: Path) -> None:
    """A byte that is not UTF-8 is refused with its line and column."""
    (tmp_path / "spec").write_bytes('{"é": 1,\n "x": "\xe9"}'.encode("latin-1"))
    assert get_problem(tmp_path / "spec").startswith(f"{tmp_path}/spec:1:3: cannot be read as UTF-8: byte 0xe9")


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """A byte order mark changes neither the meaning nor the columns."""
    (tmp_path / "good").write_bytes(b'\xef\xbb\xbf{"jobs": [{"name": "a", "exec": "x"}]}')
    (tmp_path / "bad").write_bytes(b'\xef\xbb\xbf{"jobs" 1}')
    assert load(tmp_path / "good", {}).plan.jobs[0].name == "a"
    assert get_problem(tmp_path / "bad").startswith(f"{tmp_path}/bad:1:9:")


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is refused with a hint how to name another."""
    assert "cannot read the job spec: no such file or directory; name it as" in get_problem(tmp_path / "none")


def test_directory(tmp_path: Path) -> None:
    """A directory is refused."""
    assert "cannot read the job spec: is a directory; name the file in it" in get_problem(tmp_path)


def test_nul_in_the_path() -> None:
    """A path that no file can have is refused, not an error of Python."""
    assert "contains a NUL character" in get_problem("a\0b")


def test_unreadable_file(tmp_path: Path) -> None:
    """A file without the right to read it is refused with the uid that lacks the right."""
    path = tmp_path / "spec"
    path.write_text("{}")
    path.chmod(0)
    before = os.geteuid()
    if before == 0:  # root may read everything
        os.seteuid(65534)
    try:
        problem, uid = get_problem(path), os.geteuid()
    finally:
        os.seteuid(before)
    assert f"permission denied; let uid {uid} read it" in problem


def test_a_fifo_without_a_writer_does_not_hold_up_the_start(tmp_path: Path) -> None:
    """A FIFO that nobody writes to reads as empty instead of blocking for ever."""
    os.mkfifo(tmp_path / "fifo")
    assert "cannot be empty" in get_problem(tmp_path / "fifo")
