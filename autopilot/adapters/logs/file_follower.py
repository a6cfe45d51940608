"""Follow files that programs write, as `tail -F` does: through rotation, truncation and removal, several by a pattern.

A look at all files is taken each second: it costs well under a millisecond, and works on every file system. The kernel
tells when an entry appears in a directory of a pattern, and a look follows at once: the output of a payload that runs
for a moment is not missed. Files that are there at a pattern's first look are followed from their end, later ones from
their beginning. A file stays open, so its last lines are read after it was renamed or removed. Nothing about it is
trusted: links are not followed, only regular files are read, a bounded number of files and of bytes at a time.
"""

from __future__ import annotations

import asyncio
import glob
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from autopilot.process.line_buffer import MAX_LINE_BYTES, LineSplitter
from autopilot.safe_files import SAFE_FLAGS
from autopilot.spec.plan import LogFile

if TYPE_CHECKING:
    from autopilot.runtime.directory_watches import DirectoryWatches

LOOK_INTERVAL_S = 1.0
MIN_PAUSE_S = 0.02  # between looks that the kernel asks for
PAUSE_FACTOR = 10  # times the last look: a payload may fill its directory, and looks must not take the machine
MAX_FILES = 256
MAX_DIRECTORIES = 256  # that are watched
MAX_READ_BYTES = 256 * 1024  # of one file in one look; the rest comes with the next look, which follows at once
MAX_REST_BYTES = 4 << 20  # of one file that is gone, read at once; a payload can make and remove terabytes of holes
CHUNK_BYTES = 64 * 1024

OnLines = Callable[[str, str, list[bytes]], None]  # job, path and complete lines


class Source(NamedTuple):
    """Files that a job writes."""

    job: str
    file: LogFile


def split_directories(pattern: str) -> list[str]:
    """Return the patterns of the directories in which an entry with a wildcard, or the file itself, may appear."""
    parts = pattern.split("/")
    return [
        "/".join(parts[:index]) or "/"
        for index in range(1, len(parts))
        if index == len(parts) - 1 or glob.has_magic(parts[index])
    ]


class LineJoiner:
    """Joins lines that belong together: those after a line that matches, up to the next that does."""

    def __init__(self, first_line: re.Pattern[bytes]) -> None:
        self._first_line = first_line
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def feed(self, lines: Sequence[bytes]) -> list[bytes]:
        """Add lines; return the groups that are complete now, each joined by line ends."""
        groups = []
        for line in lines:
            is_too_long = self._waiting_bytes + len(line) > MAX_LINE_BYTES
            if self._waiting and (is_too_long or self._first_line.search(line)):
                groups.extend(self.take_rest())
            self._waiting.append(line)
            self._waiting_bytes += len(line) + 1
        return groups

    def take_rest(self) -> list[bytes]:
        """Return the group that waits for further lines, if any, and forget it."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return [b"\n".join(waiting)] if waiting else []


class FollowedFile:
    """One open file."""

    def __init__(self, descriptor: int, path: str, source: Source, *, from_end: bool) -> None:
        self.path, self.source = path, source
        self._descriptor = descriptor
        self._offset = os.fstat(descriptor).st_size if from_end else 0
        self._splitter = LineSplitter()
        expression = source.file.first_line
        self._joiner = LineJoiner(re.compile(expression.encode())) if expression is not None else None
        self._is_quiet = False  # nothing new at the last look

    def read_lines(self) -> tuple[list[bytes], bool]:
        """Read on.

        Returns:
            The new complete lines, and True if there may be more to read at once.
        """
        size = os.fstat(self._descriptor).st_size
        lines: list[bytes] = []
        if size < self._offset:  # truncated and written anew
            lines += self._splitter.take_rest()
            self._offset = 0
        end = min(size, self._offset + MAX_READ_BYTES)
        began = self._offset
        while self._offset < end:
            data = os.pread(self._descriptor, min(CHUNK_BYTES, end - self._offset), self._offset)
            if not data:
                break
            self._offset += len(data)
            lines += self._splitter.feed(data)
        was_quiet, self._is_quiet = self._is_quiet, self._offset == began
        if self._joiner is not None:
            lines = self._joiner.feed(lines)
            if was_quiet and self._is_quiet:
                lines += self._joiner.take_rest()
        return lines, self._offset < size and self._offset > began

    def close(self) -> list[bytes]:
        """Close the file; return what is left in it, an unterminated last line too, and a line about unread bytes."""
        lines: list[bytes] = []
        more, end = True, self._offset + MAX_REST_BYTES
        while more and self._offset < end:
            new, more = self.read_lines()
            lines += new
        unread_bytes = os.fstat(self._descriptor).st_size - self._offset
        os.close(self._descriptor)
        rest = self._splitter.take_rest()
        if self._joiner is not None:
            rest = self._joiner.feed(rest) + self._joiner.take_rest()
        notice = b"autopilot: %d bytes at the end of this file were not read" % unread_bytes
        return [*lines, *rest, *([notice] if unread_bytes > 0 else [])]


class FileFollower:
    """The files of all jobs."""

    def __init__(self, on_lines: OnLines) -> None:
        """Follow nothing yet; `on_lines` gets job, path and lines."""
        self._on_lines = on_lines
        self._sources: tuple[Source, ...] = ()
        self._files: dict[tuple[int, int], FollowedFile] = {}  # by device and inode: a renamed file stays the same
        self._known_sources: frozenset[Source] = frozenset()  # of the looks before
        self._watches: DirectoryWatches | None = None

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        from autopilot.runtime.directory_watches import DirectoryWatches

        appeared = asyncio.Event()
        self._watches = DirectoryWatches(appeared.set)
        try:
            while True:
                began = time.thread_time()
                while self.look():
                    await asyncio.sleep(0)
                pause_s = PAUSE_FACTOR * (time.thread_time() - began)
                await asyncio.sleep(max(MIN_PAUSE_S, min(LOOK_INTERVAL_S, pause_s)))
                with suppress(TimeoutError):
                    await asyncio.wait_for(appeared.wait(), LOOK_INTERVAL_S)
                appeared.clear()
        finally:
            self._watches.close()
            self._watches = None

    def use_sources(self, sources: Sequence[Source]) -> None:
        """Follow the files of these patterns from now on, and look at once."""
        self._sources = tuple(sources)
        self.look()

    def look(self) -> bool:
        """Read all new lines, within a bound; return True if there is more to read at once."""
        if self._watches is not None:  # before the look, so that nothing appears unseen in between
            self._watches.set_watched(self._list_directories())
        present: set[tuple[int, int]] = set()
        for source, path in self._list_paths():
            try:
                status = os.stat(path, follow_symlinks=False)
            except OSError:
                continue
            key = (status.st_dev, status.st_ino)
            if key in present or not stat.S_ISREG(status.st_mode):
                continue
            if key not in self._files and not self._open(path, source, key):
                continue
            present.add(key)
            self._files[key].path = path
        self._known_sources = frozenset(self._sources)
        has_more = False
        for key in list(self._files):
            if key in present:
                has_more = self._read(key) or has_more
            else:
                self._close(key)
        return has_more

    def close(self) -> None:
        """Read what is left and close all files."""
        self.look()
        for key in list(self._files):
            self._close(key)

    def _list_paths(self) -> Iterator[tuple[Source, str]]:
        room = MAX_FILES
        for source in self._sources:
            paths = list(islice(glob.iglob(source.file.path), room))
            room -= len(paths)
            yield from ((source, path) for path in sorted(paths))

    def _list_directories(self) -> list[str]:
        """Return the directories in which entries of the patterns may appear."""
        patterns = dict.fromkeys(prefix for source in self._sources for prefix in split_directories(source.file.path))
        found = (directory for pattern in patterns for directory in glob.iglob(pattern))
        return list(islice(found, MAX_DIRECTORIES))

    def _open(self, path: str, source: Source, key: tuple[int, int]) -> bool:
        """Open the file with this device and inode; return False if it cannot be followed."""
        try:
            descriptor = os.open(path, os.O_RDONLY | SAFE_FLAGS)
        except OSError:
            return False
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != key:  # exchanged since we looked: the next look opens the other one
            os.close(descriptor)
            return False
        self._files[key] = FollowedFile(descriptor, path, source, from_end=source not in self._known_sources)
        return True

    def _read(self, key: tuple[int, int]) -> bool:
        file = self._files[key]
        try:
            lines, has_more = file.read_lines()
        except OSError:  # a stale handle of a network file system
            self._close(key)
            return False
        if lines:
            self._on_lines(file.source.job, file.path, lines)
        return has_more

    def _close(self, key: tuple[int, int]) -> None:
        file = self._files.pop(key)
        try:
            lines = file.close()
        except OSError:
            return
        if lines:
            self._on_lines(file.source.job, file.path, lines)
