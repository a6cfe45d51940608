"""Follow files that programs write, as `tail -F` does: through rotation, truncation and removal, several by a pattern.

A look at all files is taken each second: it costs well under a millisecond, and works on every file system. The kernel
tells when an entry appears in a directory of a pattern, and a look follows at once: the output of a payload that runs
for a moment is not missed. Files that are there at a pattern's first look are followed from their end, later ones from
their beginning. A file stays open, so its last lines are read after it was renamed or removed.

Nothing about a file is trusted: a payload may have written it. Links are not followed, only regular files are read, and
what one look costs is bounded in files, bytes, lines and time. Holes are passed over. At most half of the event loop's
time goes into reading.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from autopilot.adapters.logs.pattern_walk import FoundEntry, PatternWalk
from autopilot.process.line_buffer import MAX_LINE_BYTES, LineSplitter, escape_controls
from autopilot.safe_files import SAFE_FLAGS
from autopilot.spec.plan import LogFile
from autopilot.spec.stop_budget import LOG_FILES_S

if TYPE_CHECKING:
    from autopilot.runtime.directory_watches import DirectoryWatches

LOOK_INTERVAL_S = 1.0
MIN_PAUSE_S = 0.02  # between searches that the kernel asks for
MAX_PAUSE_S = 10.0
PAUSE_FACTOR = 10  # times the last search: a payload may fill its directory, and searches must not take the machine
MAX_FILES = 256
MAX_FOUND_DIRECTORY_FILES = 32  # of one directory that a wildcard has found: one payload must not push out others
CHUNK_BYTES = 64 * 1024
MAX_CHUNK_LINES = 200  # some 20 ms with slow receivers
LINE_COST_BYTES = 128  # a line costs as much time as so many bytes
MAX_FILE_COST_BYTES = 256 * 1024  # of one file in one look
MAX_LOOK_COST_BYTES = 512 * 1024  # of all files in one look; the rest comes with the next look
MAX_LOOK_S = 0.02  # of the processor, in one look
MAX_END_COST_BYTES = 16 << 20  # of all files at the end of the life
MAX_REST_BYTES = 4 << 20  # of one file that is gone
MARK_BYTES = 64  # before the place in a file, which tell if it is still the same file
MAX_SEARCHED_BYTES = 1024  # of a line, by `first_line`: an expression may take seconds for a long line
HOLE_BYTES = 16  # so many zeros are no text
HOLE = re.compile(rb"\0{%d,}" % HOLE_BYTES)

OnLines = Callable[[str, str, list[bytes]], None]  # job, path and complete lines
OnOpened = Callable[[str], None]  # path
OnLimit = Callable[[bool], None]  # True while files are not followed, because there are too many


class Source(NamedTuple):
    """Files that a job writes."""

    job: str
    file: LogFile


class LineJoiner:
    """Joins lines that belong together: those after a line that matches, up to the next that does."""

    def __init__(self, first_line: re.Pattern[str]) -> None:
        self._first_line = first_line
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def feed(self, lines: Sequence[bytes]) -> list[bytes]:
        """Add lines; return the groups that are complete now, each joined by line ends."""
        groups = []
        for line in lines:
            is_too_long = self._waiting_bytes + len(line) > MAX_LINE_BYTES
            beginning = line[:MAX_SEARCHED_BYTES].decode(errors="replace")
            if self._waiting and (is_too_long or self._first_line.search(beginning)):
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
        self.path = path
        self.found_directory: str | None = None  # of a wildcard, where it was opened
        self.has_more = True  # to read at once
        self.is_gone = False  # renamed out of the pattern or removed
        self._descriptor = descriptor
        self._offset = os.fstat(descriptor).st_size if from_end else 0
        mark_bytes = min(MARK_BYTES, self._offset)
        self._mark = os.pread(descriptor, mark_bytes, self._offset - mark_bytes)
        self._rest_bytes = MAX_REST_BYTES  # that may be read after it is gone
        self._splitter = LineSplitter()
        self._joiner: LineJoiner | None = None
        self.use_source(source)
        self._is_quiet = False  # nothing new at the last look

    @property
    def is_removed(self) -> bool:
        """True if the file has no name any more."""
        return os.fstat(self._descriptor).st_nlink == 0

    def use_source(self, source: Source) -> list[bytes]:
        """Join further lines as another source says; return the group that waited for lines under the former one."""
        rest = self._joiner.take_rest() if self._joiner is not None else []
        self.source, expression = source, source.file.first_line
        self._joiner = LineJoiner(re.compile(expression)) if expression is not None else None
        return rest

    def read_lines(self) -> tuple[list[bytes], int]:
        """Read the next chunk, and set `has_more`.

        Returns:
            The new complete lines, and their cost in bytes.
        """
        began = self._offset
        data = self._read_chunk()
        lines = self._splitter.feed(HOLE.sub(b"", data))
        cost_bytes = len(data) + LINE_COST_BYTES * (len(lines) + 1)
        was_quiet, self._is_quiet = self._is_quiet, self._offset == began
        if self._joiner is not None:
            lines = self._joiner.feed(lines)
            if was_quiet and self._is_quiet:
                lines += self._joiner.take_rest()
        return lines, cost_bytes

    def _read_chunk(self) -> bytes:
        """Return the next bytes, up to a number of lines, and set `has_more`."""
        size = os.fstat(self._descriptor).st_size
        found = os.pread(self._descriptor, len(self._mark) + CHUNK_BYTES, self._offset - len(self._mark))
        if size < self._offset or not found.startswith(self._mark):  # truncated and written anew
            self._offset, self._mark = 0, b""
            self.has_more = size > 0
            rest = self._splitter.take_rest()
            return b"".join(rest) + b"\n" if rest else b""
        data = found[len(self._mark) :]
        if data.startswith(bytes(HOLE_BYTES)) and self._pass_hole():
            return b""
        *lines, rest_of_chunk = data.split(b"\n", MAX_CHUNK_LINES)
        if len(lines) == MAX_CHUNK_LINES:
            data = data[: len(data) - len(rest_of_chunk)]
        if self.is_gone:
            data = data[: self._rest_bytes]
            self._rest_bytes -= len(data)
        self._offset += len(data)
        self._mark = (self._mark + data)[-MARK_BYTES:]
        self.has_more = bool(data) and self._offset < size
        return data

    def _pass_hole(self) -> bool:
        """Go to the end of a hole; return False if there is none. At the last hole, wait: it may be filled later."""
        data_offset = self._find_data()
        if data_offset == self._offset:
            return False
        self.has_more = data_offset is not None
        if data_offset is not None:
            self._offset, self._mark = data_offset, b""
        return True

    def _find_data(self) -> int | None:
        """Return the offset of the next byte that is in no hole; None without any."""
        try:
            return os.lseek(self._descriptor, self._offset, os.SEEK_DATA)
        except OSError as error:  # ENXIO; other file systems know no holes
            return None if error.errno == errno.ENXIO else self._offset

    def close(self) -> list[bytes]:
        """Close the file; return an unterminated last line, and a line about bytes that were not read."""
        size = os.fstat(self._descriptor).st_size
        unread_bytes = size - self._offset if size > self._offset and self._find_data() is not None else 0
        os.close(self._descriptor)
        rest = self._splitter.take_rest()
        if self._joiner is not None:
            rest = self._joiner.feed(rest) + self._joiner.take_rest()
        notice = b"autopilot: %d bytes at the end of this file were not read" % unread_bytes
        return [*rest, *([notice] if unread_bytes else [])]


class FileFollower:
    """The files of all jobs."""

    def __init__(
        self, on_lines: OnLines, on_opened: OnOpened = lambda _: None, on_limit: OnLimit = lambda _: None
    ) -> None:
        """Follow nothing yet.

        Args:
            on_lines: Gets job, path and lines.
            on_opened: Gets the path of each new file, before its lines.
            on_limit: Gets, after each search, True if there are more files than are followed.
        """
        self._on_lines, self._on_opened, self._on_limit = on_lines, on_opened, on_limit
        self._sources: tuple[Source, ...] = ()
        self._files: dict[tuple[int, int], FollowedFile] = {}  # by device and inode: a renamed file stays the same
        self._known_sources: frozenset[Source] = frozenset()  # of the looks before
        self._watches: DirectoryWatches | None = None
        self._must_search_again = False
        self._found_counts: Counter[str | None] = Counter()  # files, by the directory that a wildcard has found

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        from autopilot.runtime.directory_watches import DirectoryWatches

        appeared = asyncio.Event()
        self._watches = DirectoryWatches(appeared.set)
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = time.thread_time()
                self._search()
                pause_s = PAUSE_FACTOR * (time.thread_time() - began)
                next_search = loop.time() + max(MIN_PAUSE_S, min(MAX_PAUSE_S, pause_s))
                while (has_more := await self._read_in_turns()) and loop.time() < next_search:
                    pass
                await asyncio.sleep(next_search - loop.time())
                if not has_more and not self._must_search_again:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(appeared.wait(), LOOK_INTERVAL_S)
                appeared.clear()
        finally:
            self._watches.close()
            self._watches = None

    async def _read_in_turns(self) -> bool:
        """Read within the bounds of a look, then leave as much time to everything else; return True for more."""
        began = time.thread_time()
        has_more = self._read_files(time.thread_time, MAX_LOOK_S)
        await asyncio.sleep(time.thread_time() - began)
        return has_more

    def use_sources(self, sources: Sequence[Source]) -> None:
        """Follow the files of these patterns from now on, and look at once."""
        self._sources = tuple(sources)
        self.look()

    def look(self) -> bool:
        """Search for files and read new lines, within a bound; return True if there is more to read at once."""
        self._search()
        return self._read_files(time.thread_time, MAX_LOOK_S)

    def close(self) -> None:
        """Read what is left, within a bound of bytes and time, and close all files."""
        end = time.monotonic() + LOG_FILES_S
        self._search()
        room_bytes = MAX_END_COST_BYTES
        while self._read_files(time.monotonic, end - time.monotonic()) and room_bytes > 0 and time.monotonic() < end:
            room_bytes -= MAX_LOOK_COST_BYTES
        for key in list(self._files):
            self._close(key)

    def _search(self) -> None:
        """Open new files, and notice those that are gone; after a limited walk only those that were removed."""
        present: set[tuple[int, int]] = set()
        inodes = {inode for _, inode in self._files}
        self._found_counts = Counter(file.found_directory for file in self._files.values())
        is_limited = False
        walk = PatternWalk()
        for source in self._sources:
            try:
                with closing(walk.find_entries(source.file.path)) as entries:
                    for entry in entries:
                        if entry.inode is not None and entry.inode not in inodes and not self._has_room(entry):
                            is_limited = True  # without a look at the file: there may be thousands
                            continue
                        key = self._identify(entry)
                        if key is None or key in present:
                            continue
                        if key not in self._files and not self._has_room(entry):
                            is_limited = True
                        elif self._keep_or_open(entry, source, key):
                            present.add(key)
            except OSError:  # no descriptor is left, for example: what is open stays open until the next search
                return
        self._known_sources = frozenset(self._sources)
        for key, file in self._files.items():
            file.is_gone = key not in present and (file.is_removed or not walk.is_limited)
        # an entry may have appeared after its directory was read and before it was watched
        self._must_search_again = self._watches is not None and self._watches.set_watched(walk.directories)
        self._on_limit(is_limited or walk.is_limited)

    def _has_room(self, entry: FoundEntry) -> bool:
        directory = entry.found_directory
        has_own_room = directory is None or self._found_counts[directory] < MAX_FOUND_DIRECTORY_FILES
        return len(self._files) < MAX_FILES and has_own_room

    @staticmethod
    def _identify(entry: FoundEntry) -> tuple[int, int] | None:
        """Return device and inode of a regular file; None for anything else."""
        try:
            status = os.stat(entry.name, dir_fd=entry.directory, follow_symlinks=False)
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None

    def _keep_or_open(self, entry: FoundEntry, source: Source, key: tuple[int, int]) -> bool:
        """Return True if the file with this device and inode is followed."""
        path = escape_controls(os.fsencode(entry.path).decode(errors="replace"))
        if key in self._files:
            self._follow_source(self._files[key], source)
            self._files[key].path = path
            return True
        try:
            descriptor = os.open(entry.name, os.O_RDONLY | SAFE_FLAGS, dir_fd=entry.directory)
        except OSError:
            return False
        status = os.fstat(descriptor)
        # exchanged since we looked: the next look opens the other one. A second name may be of a foreign file
        if (status.st_dev, status.st_ino) != key or status.st_nlink > 1:
            os.close(descriptor)
            return False
        file = FollowedFile(descriptor, path, source, from_end=source not in self._known_sources)
        file.found_directory = entry.found_directory
        self._files[key] = file
        self._found_counts[entry.found_directory] += 1
        self._on_opened(path)
        return True

    def _follow_source(self, file: FollowedFile, source: Source) -> None:
        """Give an open file its new source after a reload; a file that is renamed keeps its own."""
        if file.source in self._sources:
            return
        former_job = file.source.job
        if lines := file.use_source(source):
            self._on_lines(former_job, file.path, lines)

    def _read_files(self, clock: Callable[[], float], limit_s: float) -> bool:
        """Read new lines of all files, within the bounds of a look; return True if there is more to read at once.

        Args:
            clock: Returns a time in seconds.
            limit_s: The time by this clock after which no further chunk is read; one chunk is read in any case.
        """
        end = clock() + limit_s
        room_bytes = MAX_LOOK_COST_BYTES
        unfinished: set[str] = set()  # paths at which an older file is to be read first
        for number, key in enumerate(sorted(self._files, key=lambda key: not self._files[key].is_gone)):
            file = self._files[key]
            if room_bytes <= 0 or (number and clock() >= end):
                return True
            if file.path not in unfinished:
                room_bytes -= self._read(key, clock, end)
            if file.is_gone and file.has_more:
                unfinished.add(file.path)
        return any(file.has_more for file in self._files.values())

    def _read(self, key: tuple[int, int], clock: Callable[[], float], end: float) -> int:
        """Read on in a file up to a time, and close it when it is gone and read; return the cost in bytes."""
        file = self._files[key]
        file.has_more, cost_bytes = True, 0
        while file.has_more and cost_bytes < MAX_FILE_COST_BYTES and (not cost_bytes or clock() < end):
            try:
                lines, chunk_cost_bytes = file.read_lines()
            except OSError:  # a stale handle of a network file system
                self._close(key)
                return cost_bytes
            cost_bytes += chunk_cost_bytes
            if lines:
                self._on_lines(file.source.job, file.path, lines)
        if file.has_more:
            self._files[key] = self._files.pop(key)  # the others go first the next time
        elif file.is_gone:
            self._close(key)
        return cost_bytes

    def _close(self, key: tuple[int, int]) -> None:
        file = self._files.pop(key)
        try:
            lines = file.close()
        except OSError:
            return
        if lines:
            self._on_lines(file.source.job, file.path, lines)
