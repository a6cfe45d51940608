"""Keep lines of the log on the disk while their receiver is away: in order, within a bound, also for the next life.

The lines of one receiver are in numbered files, the segments. New lines go to the end of the last segment; the sender
takes the first segment and removes it when all its lines were sent. A supervisor that is killed loses nothing that was
written, and sends a segment again. Writes go to the page cache of a local disk and are not waited for.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from autopilot.safe_files import SAFE_FLAGS, make_own_directory

SEGMENT_BYTES = 256 * 1024
MAX_FRAME_BYTES = 1 << 20
MAX_SEGMENTS = 1 << 20  # in a directory; more are not ours
FIRST_NUMBER = 1 << 32  # so that there are numbers before it; there are 40 bits
LENGTH_BYTES = 4
SEGMENT_NAME = re.compile(r"[0-9a-f]{10}\.lines")


class LogSpill:
    """The lines on the disk for one receiver."""

    def __init__(self, directory: Path, max_bytes: int, on_moved: Callable[[str], None]) -> None:
        """Open the directory, which is created if it is missing, and count the lines of earlier lives in it.

        Args:
            directory: The directory, of this receiver alone.
            max_bytes: The largest size of all segments.
            on_moved: Gets a sentence when something else had to be moved aside.

        Raises:
            OSError: The directory cannot be used.
        """
        self.max_bytes = max_bytes
        self._directory = make_own_directory(directory, 0o700, on_moved)
        self._sizes = dict(sorted(self._list_segments()))  # in bytes, by number; the first one is sent first
        self.size_bytes = sum(self._sizes.values())
        self._last: int | None = None  # descriptor of the last segment, while lines are added to it

    def _list_segments(self) -> Iterator[tuple[int, int]]:
        with os.scandir(self._directory) as entries:
            for entry in islice(entries, MAX_SEGMENTS):
                if SEGMENT_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield int(entry.name[:10], 16), entry.stat(follow_symlinks=False).st_size

    @property
    def is_empty(self) -> bool:
        """True while there is no line."""
        return not self._sizes

    def append(self, frame: bytes, *, extra_bytes: int = 0) -> bool:
        """Add a line at the end.

        Args:
            frame: The line.
            extra_bytes: The space that it may take beyond the largest size.

        Returns:
            False when there is no room for it, or the disk refuses it.
        """
        data = len(frame).to_bytes(LENGTH_BYTES, "big") + frame
        if self.size_bytes + len(data) > self.max_bytes + extra_bytes or len(frame) > MAX_FRAME_BYTES:
            return False
        number = next(reversed(self._sizes), FIRST_NUMBER)
        if self._last is not None and self._sizes[number] >= SEGMENT_BYTES:
            self._finish_last()
        try:
            if self._last is None:
                number = number + 1 if self._sizes else number
                self._last = self._create(number)
                self._sizes[number] = 0
            self._write(self._last, self._sizes[number], data)
        except OSError:
            return False
        self._sizes[number] += len(data)
        self.size_bytes += len(data)
        return True

    def read_first(self) -> list[bytes]:
        """Return the lines of the first segment; a damaged part at its end is left out."""
        number = next(iter(self._sizes))
        if len(self._sizes) == 1:  # later lines go to another segment, which is not being sent
            self._finish_last()
        try:
            descriptor = os.open(_format_name(number), os.O_RDONLY | SAFE_FLAGS, dir_fd=self._directory)
        except OSError:
            return []
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return []
            with open(descriptor, "rb", closefd=False) as file:
                return list(_split_frames(file.read(SEGMENT_BYTES + MAX_FRAME_BYTES + LENGTH_BYTES)))
        except OSError:
            return []
        finally:
            os.close(descriptor)

    def drop_first(self) -> None:
        """Remove the first segment."""
        number = next(iter(self._sizes))
        if len(self._sizes) == 1:
            self._finish_last()
        self.size_bytes -= self._sizes.pop(number)
        self._remove(number)

    def put_first(self, frames: Sequence[bytes]) -> int:
        """Put lines before all others, in segments of their own.

        Args:
            frames: The lines, oldest first.

        Returns:
            The number of lines, the newest ones, for which there was no room.
        """
        parts: list[list[bytes]] = [[]]
        room, size, kept = self.max_bytes - self.size_bytes, 0, 0
        for frame in frames:
            data = len(frame).to_bytes(LENGTH_BYTES, "big") + frame
            room -= len(data)
            if room < 0:
                break
            if size >= SEGMENT_BYTES:
                parts.append([])
                size = 0
            parts[-1].append(data)
            size += len(data)
            kept += 1
        number = next(iter(self._sizes), FIRST_NUMBER)
        for part in reversed(parts):
            if part:
                number -= 1
                if not self._write_segment(number, b"".join(part)):
                    kept -= len(part)
        return len(frames) - kept

    def replace_first(self, frames: Sequence[bytes]) -> None:
        """Leave only these lines of the first segment; if the disk refuses them, the whole segment stays."""
        if not frames:
            self.drop_first()
            return
        number = next(iter(self._sizes))
        data = b"".join(len(frame).to_bytes(LENGTH_BYTES, "big") + frame for frame in frames)
        if self._write_segment(number - 1, data):  # a kill before the next step leads to lines that are sent again
            self.size_bytes -= self._sizes.pop(number)
            self._remove(number)

    def close(self) -> None:
        """Close the directory; the lines stay."""
        self._finish_last()
        os.close(self._directory)

    def _write_segment(self, number: int, data: bytes) -> bool:
        try:
            descriptor = self._create(number)
        except OSError:
            return False
        try:
            self._write(descriptor, 0, data)
        except OSError:
            self._remove(number)
            return False
        finally:
            os.close(descriptor)
        self._sizes = {number: len(data), **self._sizes}
        self.size_bytes += len(data)
        return True

    def _create(self, number: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE_FLAGS
        return os.open(_format_name(number), flags, 0o600, dir_fd=self._directory)

    @staticmethod
    def _write(descriptor: int, size: int, data: bytes) -> None:
        """Write data at the end of a segment of that size, whole or not at all; raise OSError if it is refused."""
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:  # the disk is full: half a line would hide those after it
            os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)
            raise

    def _finish_last(self) -> None:
        if self._last is not None:
            os.close(self._last)
            self._last = None

    def _remove(self, number: int) -> None:
        try:
            os.unlink(_format_name(number), dir_fd=self._directory)
        except OSError:  # somebody removed it; or the next life sends its lines again
            return


def _format_name(number: int) -> str:
    return f"{number:010x}.lines"


def _split_frames(data: bytes) -> Iterator[bytes]:
    """Yield the whole lines at the beginning of a segment."""
    at = 0
    while at + LENGTH_BYTES <= len(data):
        length = int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        at += LENGTH_BYTES
        if at + length > len(data):
            return
        yield data[at : at + length]
        at += length
