"""Files are followed through everything that happens to log files."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from types import SimpleNamespace

import pytest

from autopilot.adapters.logs import file_follower, pattern_walk
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


@pytest.mark.parametrize("first_line", ["(?iu)^\u00c9tape", r"^\u00e9tape", r"^\w+ \d"])
def test_any_expression(tmp_path, first_line):
    """An expression sees text: letters beyond ASCII, and every flag that is valid for text."""
    followed = Followed(tmp_path, first_line)
    followed.write("a.log", "\u00e9tape 1\n  more\n\u00e9tape 2\n")
    assert followed.look() == [("a.log", "\u00e9tape 1\n  more")]


def test_endless_group(tmp_path):
    """A group without an end comes in pieces: memory is bounded."""
    followed = Followed(tmp_path, "^never")
    followed.write("a.log", "x" * 1000 + "\n")
    followed.write("a.log", ("y" * 1000 + "\n") * 200)
    groups = followed.look()
    assert len(groups) >= 2 and all(len(text) <= 66_000 for _, text in groups)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "strange name"])
def test_hostile_file(followed, kind):
    """A link, a FIFO or a directory in the place of a log file is passed over; a strange name is written out."""
    path = followed.folder / "a.log"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        (followed.folder / "\udcff\n.log").write_text("2\n")
    followed.write("b.log", "1\n")
    expected = {("b.log", "1")} | ({("\ufffd\\x0a.log", "2")} if kind == "strange name" else set())
    assert set(followed.look()) == expected


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
    """Of a removed large file a bounded rest is read, and the number of unread bytes is said."""
    monkeypatch.setattr(file_follower, "MAX_REST_BYTES", 1 << 20)
    followed = Followed(tmp_path, first_line)
    followed.write("a.log", "1\n")
    followed.look()
    followed.write("a.log", "x" * (3 << 20))
    (tmp_path / "a.log").unlink()
    *lines, notice = [line for _, line in followed.look()]
    assert (1 << 20) - 64 * 1024 < sum(map(len, lines)) <= (1 << 20) + 1
    assert notice == f"autopilot: {2 << 20} bytes at the end of this file were not read"
    assert followed.follower._files == {}


def test_holes(followed):
    """Terabytes of holes before, between and after lines are passed over, and cost no line."""
    path = followed.folder / "a.log"
    with path.open("wb") as file:
        for number in range(3):
            file.seek((number + 1) << 40)
            file.write(b"%d\n" % number)
        file.truncate(1 << 43)
    assert followed.look() == [("a.log", "0"), ("a.log", "1"), ("a.log", "2")]
    path.unlink()
    assert followed.look() == []


def test_filled_hole(followed):
    """Space that a program reserves at the end of its file is read when lines come into it."""
    path = followed.folder / "a.log"
    path.touch()
    os.truncate(path, 1 << 20)
    assert followed.look() == []
    with path.open("r+b") as file:
        file.write(b"1\n")
    assert followed.look() == [("a.log", "1")]


@pytest.mark.parametrize("lines", [1, 100])
def test_truncation_and_growth(followed, lines):
    """A file that is copied, truncated and written beyond its former size before the next look is read anew."""
    followed.write("a.log", "old line\n" * lines)
    followed.look()
    (followed.folder / "a.log").write_text("new line\n" * (lines + 1))
    assert followed.look() == [("a.log", "new line")] * (lines + 1)


def test_truncation_by_a_writer_that_does_not_append(followed):
    """A program that goes on at its old place after a truncation leaves a hole, and its lines are read."""
    with (followed.folder / "a.log").open("wb", buffering=0) as file:
        file.write(b"1\n" * 50_000)
        followed.look()
        os.truncate(followed.folder / "a.log", 0)
        file.write(b"2\n")
        assert followed.look() == [("a.log", "2")]


def test_rotation_of_a_large_file(followed):
    """All of a renamed file is read before the first line of its successor, however many looks that takes."""
    followed.write("a.log", "first\n")
    followed.look()
    followed.write("a.log", "".join(f"{number:099d}\n" for number in range(20_000)))
    (followed.folder / "a.log").rename(followed.folder / "a.log.1")
    followed.write("a.log", "last\n")
    found = [line for _, line in followed.look()]
    assert found == [*(f"{number:099d}" for number in range(20_000)), "last"]


def test_link_in_the_path(tmp_path):
    """A link to a directory is followed only if root or our own user made it: not one of a payload."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "dir_1").mkdir()
    (tmp_path / "dir_1/out").symlink_to("../secret")
    found: list[bytes] = []
    follower = FileFollower(lambda job, path, lines: found.extend(lines))
    follower.use_sources([Source("job", LogFile(path=f"{tmp_path}/dir_*/out/a.log"))])
    (tmp_path / "secret/a.log").write_text("1\n")
    follower.look()
    assert found == [b"1"]
    follower.close()
    if os.geteuid() == 0:
        found.clear()
        os.chown(tmp_path / "dir_1/out", 12345, 12345, follow_symlinks=False)
        follower.look()
        assert found == [] and follower._files == {}


def test_many_links(tmp_path, monkeypatch):
    """However many links the targets of links lead through, a walk takes a bounded number of steps, and it is told."""
    opened: list[str] = []
    open_file = os.open

    def count(path, *args, **kwargs):
        opened.append(path)
        return open_file(path, *args, **kwargs)

    (tmp_path / "0").mkdir()
    (tmp_path / "0/a.log").touch()
    for level in range(1, 9):
        (tmp_path / f"{level}").symlink_to("/".join([f"{level - 1}", ".."] * 20) + f"/{level - 1}")
    monkeypatch.setattr(os, "open", count)
    walk = pattern_walk.PatternWalk()
    assert len(list(walk.find_entries(f"{tmp_path}/1/a.log"))) == 1 and not walk.is_limited
    assert list(walk.find_entries(f"{tmp_path}/8/a.log")) == [] and walk.is_limited
    assert len(opened) <= 3 * pattern_walk.MAX_LINK_STEPS


def test_limited_walk(followed, monkeypatch):
    """A file that a limited walk does not find stays open, and none of its lines comes again."""
    (followed.folder / "b").mkdir()
    (followed.folder / "link").symlink_to("b")
    file = LogFile(path=f"{followed.folder}/link/*.log")
    followed.follower.use_sources([Source("job", file)])
    followed.write("b/a.log", "1\n")
    assert followed.look() == [("a.log", "1")]
    with monkeypatch.context() as patch:
        patch.setattr(pattern_walk, "MAX_LINK_STEPS", 0)
        followed.write("b/a.log", "2\n")
        assert followed.look() == [("a.log", "2")]
    assert followed.look() == []
    (followed.folder / "b/a.log").unlink()
    followed.write("b/a.log", "3\n")
    assert followed.look() == [("a.log", "3")]


def test_second_name(followed):
    """A file with a second name is not opened: a payload may have linked a file of another user."""
    (followed.folder / "foreign").write_text("secret\n")
    os.link(followed.folder / "foreign", followed.folder / "a.log")
    assert followed.look() == []
    (followed.folder / "foreign").unlink()
    assert followed.look() == [("a.log", "secret")]


def test_crowded_directory(followed, monkeypatch):
    """Of a directory with very many entries a bounded number is read; the followed files stay followed."""
    followed.write("z.log", "1\n")
    assert followed.look() == [("z.log", "1")]
    monkeypatch.setattr(file_follower, "MAX_FILES", 5)
    for number in range(50):
        followed.write(f"{number}.log", "x\n")
    followed.write("z.log", "2\n")
    assert ("z.log", "2") in followed.look()
    assert len(followed.follower._files) == 5
    monkeypatch.setattr(pattern_walk, "MAX_DIRECTORY_ENTRIES", 7)
    walk = pattern_walk.PatternWalk()
    assert len(list(walk.find_entries(f"{followed.folder}/*.log"))) <= 7


def test_payloads_with_many_files(tmp_path):
    """A payload that fills its directory does not keep the files of others from being followed, and it is told."""
    limits: list[bool] = []
    found: list[str] = []
    follower = FileFollower(lambda job, path, lines: found.append(path), on_limit=limits.append)
    follower.use_sources([Source("job", LogFile(path=f"{tmp_path}/dir_*/*.log"))])
    for payload in range(12):
        (tmp_path / f"dir_{payload:02}").mkdir()
    for payload in range(10):
        for number in range(40):
            (tmp_path / f"dir_{payload:02}/{number}.log").write_text("x\n")
    (tmp_path / "dir_00/10.log").unlink()
    for _ in range(9):
        follower.look()
    assert len(follower._files) == file_follower.MAX_FILES and limits[-1]
    assert len([path for path in found if "/dir_00/" in path]) == file_follower.MAX_FOUND_DIRECTORY_FILES
    for payload in range(5):
        shutil.rmtree(tmp_path / f"dir_{payload:02}")
    (tmp_path / "dir_11/last.log").write_text("x\n")
    while follower.look():
        pass
    follower.look()
    assert f"{tmp_path}/dir_11/last.log" in found
    follower.close()


def test_name_without_wildcard_beside_many_files(tmp_path):
    """A followed file whose name has no wildcard stays followed while there is no room; no line comes twice."""
    found: list[tuple[str, bytes]] = []
    limits: list[bool] = []
    follower = FileFollower(
        lambda job, path, lines: found.extend((path, line) for line in lines), on_limit=limits.append
    )
    patterns = ["dir_*/stdout", "dir_*/*.log", "app/app.log", "app/missing.log"]
    follower.use_sources([Source("job", LogFile(path=f"{tmp_path}/{pattern}")) for pattern in patterns])
    expected = ["app/app.log", *(f"dir_{payload}/stdout" for payload in range(9))]
    for name in expected:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    follower.look()
    for payload in range(9):
        for number in range(40):
            (tmp_path / f"dir_{payload}/{number}.log").write_text("x\n")
    for _ in range(10):
        follower.look()
    assert limits[-1] and len(follower._files) == file_follower.MAX_FILES
    assert sorted(path for path, line in found if line == b"1") == [f"{tmp_path}/{name}" for name in expected]
    follower.close()


def test_reload(tmp_path):
    """A changed expression or job holds for open files too; the group that waits comes from the job as it was."""
    found: list[tuple[str, bytes]] = []
    follower = FileFollower(lambda job, path, lines: found.extend((job, line) for line in lines))
    path = tmp_path / "a.log"

    def write(text, job, first_line):
        follower.use_sources([Source(job, LogFile(path=str(path), first_line=first_line))])
        with path.open("a") as file:
            file.write(text)
        while follower.look():
            pass
        new = list(found)
        found.clear()
        return new

    assert write("1 a\n  b\n", "old", r"^\d") == []
    assert write("x c\n  d\nx e\n", "old", "^x") == [("old", b"1 a\n  b"), ("old", b"x c\n  d")]
    assert write("f\ng", "new", None) == [("old", b"x e"), ("new", b"f")]
    assert write("h\n", "new", None) == [("new", b"gh")]
    assert len(follower._files) == 1
    follower.close()


def test_rename_to_the_pattern_of_another_job(tmp_path):
    """A file that is renamed stays a file of the job that wrote it."""
    found: list[tuple[str, bytes]] = []
    follower = FileFollower(lambda job, path, lines: found.extend((job, line) for line in lines))
    follower.use_sources([Source(name, LogFile(path=f"{tmp_path}/{name}.log")) for name in "ab"])
    (tmp_path / "a.log").write_text("1\n")
    follower.look()
    (tmp_path / "a.log").rename(tmp_path / "b.log")
    with (tmp_path / "b.log").open("a") as file:
        file.write("2\n")
    follower.look()
    assert found == [("a", b"1"), ("a", b"2")]
    follower.close()


def test_slow_receivers(tmp_path, monkeypatch):
    """However long a line takes, a look and the end of the life have a bound of time, and unread bytes are told."""
    passed_s = 0.0
    found: list[bytes] = []

    def take(job, path, lines):
        nonlocal passed_s
        passed_s += 0.000_2 * len(lines)
        found.extend(lines)

    clock = SimpleNamespace(monotonic=lambda: passed_s, thread_time=lambda: passed_s)
    monkeypatch.setattr(file_follower, "time", clock)
    follower = FileFollower(take)
    follower.use_sources([Source("job", LogFile(path=f"{tmp_path}/*.log"))])
    for name in ("a", "b"):
        (tmp_path / f"{name}.log").write_text("\n" * 100_000)
    assert follower.look() is True
    assert found and passed_s <= 0.1
    before_s = passed_s
    follower.close()
    assert 0.9 <= passed_s - before_s <= 1.1
    assert found[-1].startswith(b"autopilot: ") and found[-1].endswith(b" were not read")


def test_many_lines(followed):
    """One look takes a bounded number of lines, however short they are: everything else goes on in between."""
    followed.write("a.log", "\n" * 1_000_000)
    followed.follower.look()
    assert 0 < len(followed.found) <= 8_000
    followed.follower.close()
    assert len(followed.found) <= 150_000
    assert followed.found[-1][1].startswith("autopilot: ")


def test_busy_file(followed):
    """A file that grows without end does not keep the lines of another one."""
    followed.write("a.log", "x\n" * 500_000)
    followed.write("b.log", "1\n")
    assert followed.follower.look() and followed.follower.look()
    assert ("b.log", "1") in followed.found


def test_no_descriptor_left(followed):
    """While this process can open nothing more, its open files stay followed, and no line comes twice."""
    followed.write("a.log", "1\n")
    assert followed.look() == [("a.log", "1")]
    followed.write("a.log", "2\n")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        found = followed.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == [("a.log", "2")] and followed.look() == []


def test_strange_bytes(followed):
    """A line that is no UTF-8 arrives as its bytes, and an endless one in pieces."""
    found: list[bytes] = []
    follower = FileFollower(lambda job, path, lines: found.extend(lines))
    follower.use_sources([Source("job", LogFile(path=f"{followed.folder}/*.bin"))])
    (followed.folder / "a.bin").write_bytes(b"\xff\xfe\x00\n" + b"y" * (1 << 20))
    while follower.look():
        pass
    follower.close()
    assert found[0] == b"\xff\xfe\x00"
    assert b"".join(found[1:]) == b"y" * (1 << 20) and max(map(len, found)) <= 64 * 1024


def test_close(followed):
    """At the end everything that is left is read, and all files are closed."""
    followed.write("a.log", "1\nrest")
    followed.follower.close()
    assert followed.found == [("a.log", "1"), ("a.log", "rest")] and followed.follower._files == {}


@pytest.mark.parametrize(
    ("pattern", "directories"),
    [
        ("a/b/file", ["a/b"]),
        ("a/dir_*/_out*", ["a", "a/dir_1", "a/dir_2"]),
        ("a/[bc]/d/?/e", ["a", "a/b/d", "a/b/d/x"]),
        ("missing/file", []),
        ("a//b/./[x", ["a/b"]),
        ("a/../a/**/y", ["a/../a", "a/../a/b", "a/../a/dir_1", "a/../a/dir_2"]),
    ],
)
def test_watched_directories(tmp_path, pattern, directories):
    """Every directory is watched in which an entry of the pattern may appear."""
    for name in ("a/b/d/x", "a/dir_1", "a/dir_2", "a/.dir_3"):
        (tmp_path / name).mkdir(parents=True)
    walk = pattern_walk.PatternWalk()
    list(walk.find_entries(f"{tmp_path}/{pattern}"))
    assert list(walk.directories) == [f"{tmp_path}/{name}" for name in directories]


def test_no_file():
    """The root directory is no file, and nothing is found there."""
    assert list(pattern_walk.PatternWalk().find_entries("/")) == []


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
