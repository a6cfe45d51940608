"""Files are followed through everything that happens to log files."""

from __future__ import annotations

import asyncio
import os

import pytest

from autopilot.adapters.logs import file_follower
from autopilot.adapters.logs.file_follower import FileFollower, Source
from autopilot.spec.plan import LogFile


class Followed:
    """A follower of `*.log` below a directory, and the lines that it found."""

    def __init__(self, folder, first_line=None):
        self.folder, self.found = folder, []
        file = LogFile(path=f"{folder}/*.log", first_line=first_line)
        self.follower = FileFollower(self._keep)
        self.follower.use_sources([Source("job", file)])

    def _keep(self, job, path, lines):
        self.found += [(os.path.basename(path), line.decode()) for line in lines]

    def write(self, name, text):
        with open(self.folder / name, "a") as file:
            file.write(text)

    def look(self):
        """Return the lines that are new."""
        self.found.clear()
        while self.follower.look():
            pass
        return list(self.found)


@pytest.fixture
def followed(tmp_path):
    return Followed(tmp_path)


def test_new_file(followed):
    """A file that appears is read from its beginning, then line by line; an unfinished line waits."""
    followed.write("a.log", "1\n2\n3")
    assert followed.look() == [("a.log", "1"), ("a.log", "2")]
    followed.write("a.log", "3\n")
    assert followed.look() == [("a.log", "33")]
    assert followed.look() == []


def test_old_file(tmp_path):
    """A file that is there at the first look is followed from its end: its lines are of an earlier life."""
    (tmp_path / "a.log").write_text("old\n")
    followed = Followed(tmp_path)
    followed.write("a.log", "new\n")
    assert followed.look() == [("a.log", "new")]


def test_rotation(followed):
    """The end of a renamed file is read, then the new file from its beginning; nothing twice, nothing lost."""
    followed.write("a.log", "1\n")
    followed.look()
    followed.write("a.log", "2\n")
    (followed.folder / "a.log").rename(followed.folder / "a.log.1")
    followed.write("a.log", "3\n")
    assert sorted(line for _, line in followed.look()) == ["2", "3"]


def test_rotation_within_the_pattern(followed):
    """A file that is renamed to another name of the pattern is the same file."""
    followed.write("a.log", "1\n")
    followed.look()
    (followed.folder / "a.log").rename(followed.folder / "a.1.log")
    followed.write("a.1.log", "2\n")
    followed.write("a.log", "3\n")
    assert sorted(followed.look()) == [("a.1.log", "2"), ("a.log", "3")]


def test_truncation(followed):
    """A file that is truncated and written anew is read from its beginning."""
    followed.write("a.log", "1\n2\n")
    followed.look()
    (followed.folder / "a.log").write_text("3\n")
    assert followed.look() == [("a.log", "3")]


def test_removal(followed):
    """The last lines of a removed file are read, an unfinished one too, and the file is closed."""
    followed.write("a.log", "1\n")
    followed.look()
    followed.write("a.log", "2\n3")
    (followed.folder / "a.log").unlink()
    assert followed.look() == [("a.log", "2"), ("a.log", "3")]
    assert followed.follower._files == {}


def test_joined_lines(tmp_path):
    """Lines that do not match belong to the line before; the last group comes when the file is quiet."""
    followed = Followed(tmp_path, r"^\d")
    followed.write("a.log", "1 error\n  at x\n  at y\n2 fine\n")
    assert followed.look() == [("a.log", "1 error\n  at x\n  at y")]
    assert followed.look() == []
    assert followed.look() == [("a.log", "2 fine")]


def test_endless_group(tmp_path):
    """A group without an end comes in pieces: memory is bounded."""
    followed = Followed(tmp_path, "^never")
    followed.write("a.log", "x" * 1000 + "\n")
    followed.write("a.log", ("y" * 1000 + "\n") * 200)
    groups = followed.look()
    assert len(groups) >= 2 and all(len(text) <= 66_000 for _, text in groups)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "unreadable name"])
def test_hostile_file(followed, kind):
    """A link, a FIFO, a directory or a strange name in the place of a log file is passed over, and hangs nothing."""
    path = followed.folder / "a.log"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        (followed.folder / "\udcff.log").write_text("")
    followed.write("b.log", "1\n")
    assert followed.look() == [("b.log", "1")]


def test_many_files(followed, monkeypatch):
    """At most MAX_FILES files are open."""
    monkeypatch.setattr(file_follower, "MAX_FILES", 5)
    for number in range(20):
        followed.write(f"{number}.log", "x\n")
    followed.look()
    assert len(followed.follower._files) == 5


def test_large_file(followed):
    """A large new file is read in several looks, each of a bounded size, without a loss."""
    followed.write("a.log", "".join(f"{number:099d}\n" for number in range(10_000)))
    assert followed.follower.look() is True
    first = len(followed.found)
    assert 0 < first < 10_000
    assert first + len(followed.look()) == 10_000


@pytest.mark.parametrize("first_line", [None, "^never"])
def test_removed_giant(tmp_path, monkeypatch, first_line):
    """Of a removed file of terabytes a bounded rest is read, and the number of unread bytes is said."""
    monkeypatch.setattr(file_follower, "MAX_REST_BYTES", 1 << 20)
    followed = Followed(tmp_path, first_line)
    followed.write("a.log", "1\n")
    followed.follower.look()
    os.truncate(tmp_path / "a.log", 1 << 43)
    (tmp_path / "a.log").unlink()
    lines = [line for _, line in followed.look()]
    assert sum(map(len, lines)) < 2 << 20
    unread = int(lines[-1].removeprefix("autopilot: ").split()[0])
    assert (1 << 43) - (2 << 20) < unread < 1 << 43 and "bytes at the end of this file were not read" in lines[-1]
    assert followed.follower._files == {}


def test_close(followed):
    """At the end everything that is left is read, and all files are closed."""
    followed.write("a.log", "1\nrest")
    followed.follower.close()
    assert followed.found == [("a.log", "1"), ("a.log", "rest")] and followed.follower._files == {}


@pytest.mark.parametrize(
    ("pattern", "directories"),
    [
        ("/a/b/file", ["/a/b"]),
        ("/a/dir_*/_out*", ["/a", "/a/dir_*"]),
        ("/a/[bc]/d/?/e", ["/a", "/a/[bc]/d", "/a/[bc]/d/?"]),
        ("/file", ["/"]),
    ],
)
def test_watched_directories(pattern, directories):
    """Every directory is watched in which an entry of the pattern may appear."""
    assert file_follower.split_directories(pattern) == directories


async def test_short_lived_files(tmp_path, monkeypatch):
    """Lines of a file in a new directory are read although both are gone before the next regular look."""
    monkeypatch.setattr(file_follower, "LOOK_INTERVAL_S", 1000.0)
    found: list[bytes] = []
    follower = FileFollower(lambda job, path, lines: found.extend(lines))
    follower.use_sources([Source("job", LogFile(path=f"{tmp_path}/dir_*/out"))])
    task = asyncio.create_task(follower.follow())
    try:
        async with asyncio.timeout(60):
            for number in range(3):  # the same name again: a removed directory is forgotten
                folder = tmp_path / "dir_1"
                folder.mkdir()
                (folder / "out").write_text("first\n")
                while len(found) < 2 * number + 1:
                    await asyncio.sleep(0.01)
                with (folder / "out").open("a") as file:
                    file.write("last\n")
                (folder / "out").unlink()
                folder.rmdir()
                (tmp_path / f"dir_{number}x").mkdir()  # wakes it up, as the next payload does
                while len(found) < 2 * number + 2:
                    await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert found == [b"first", b"last"] * 3
