"""Where log lines go: written without ever waiting for the reader.

Our stdout is often a pipe that somebody else must empty. Nobody does: lines wait in a bounded buffer, then the
newest are dropped and counted, and the count is said as soon as there is room. The reader is gone: all is dropped
and counted.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import time
from collections import deque
from collections.abc import Callable

STANDARD_ERROR = 2
BUFFER = 1 << 20  # bytes that may wait
STUCK = 0.5  # s without a byte taken: nobody reads
LAST_LINES = 4  # times the buffer, for the last lines of a job, which cannot be paced, and a reader that still reads


class Sink:
    """`fd` must be open for writing. Above 2 it is ours alone, and is closed when another takes its place. Our standard
    output has other users: a pipe there is opened anew, so that our non-blocking mode is not theirs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, limit: int = BUFFER) -> None:
        self._loop = loop
        self._limit = limit
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._writing = False
        self._unsaid = 0  # bytes dropped since the last notice
        self.dropped = 0  # bytes, ever
        self._taken_at = loop.time()  # when the reader last took something
        self._paced: list[Callable[[], None]] = []
        self._use(fd)

    def _use(self, fd: int) -> None:
        kind = os.fstat(fd).st_mode
        self._always_ready = stat.S_ISREG(kind)  # epoll refuses regular files, and they never make us wait for a reader
        self._fd = fd if self._always_ready or fd > STANDARD_ERROR else _own_view(fd)
        if not self._always_ready:
            os.set_blocking(self._fd, False)

    def reopen(self, fd: int) -> None:
        """Go on in another file: the old one was rotated away."""
        self._wait(False)
        if self._fd > STANDARD_ERROR:  # not our standard output, where it is used as it is
            os.close(self._fd)
        self._use(fd)

    def pressed(self) -> bool:
        """The reader is alive but behind: who can wait should, until `when_room` calls."""
        return self._size > self._limit // 2 and self._loop.time() - self._taken_at < STUCK

    def when_room(self, resume: Callable[[], None]) -> None:
        """Call `resume` once there is room, or once the reader turns out to be stuck."""
        if not self._paced:
            self._loop.call_later(STUCK, self._resume)
        self._paced.append(resume)

    def _resume(self) -> None:
        paced, self._paced = self._paced, []
        for resume in paced:
            resume()

    def full(self, size: int) -> bool:
        """There is no room for `size` more bytes: they are counted as dropped, and need not be made.

        A batch that begins within the limit may end beyond it: however large, it is not lost to a reader that reads.
        """
        alive = self._loop.time() - self._taken_at < STUCK
        if self._size < self._limit * (LAST_LINES if alive else 1):
            return False
        self.dropped += size
        self._unsaid += size
        return True

    def write(self, data: bytes) -> None:
        """One or more whole lines."""
        if self.full(len(data)):
            return
        if self._unsaid:
            notice = f"autopilot: {self._unsaid} bytes of log dropped: nobody read them\n".encode()
            self._unsaid = 0
            self._append(notice)
        self._append(data)
        if not self._writing:
            self._flush()

    def drain(self, patience: float = 1.0) -> None:
        """The end: give a reader that still reads up to `patience` seconds for what is left."""
        until = time.monotonic() + patience
        self._flush()
        while self._waiting and (left := until - time.monotonic()) > 0:
            select.select([], [self._fd], [], left)
            self._flush()

    def _append(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)

    def _flush(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                self._wait(True)
                return
            except OSError:  # EPIPE: the reader is gone; ENOSPC: the disk is full. A log must not end us
                written = len(data)
                self.dropped += written
            self._size -= written
            self._taken_at = self._loop.time()
            if written < len(data):
                self._waiting[0] = data[written:]
            else:
                self._waiting.popleft()
            if self._paced and self._size < self._limit // 4:
                self._resume()
        self._wait(False)

    def _wait(self, wanted: bool) -> None:
        if wanted and not self._writing:
            self._loop.add_writer(self._fd, self._flush)
        elif self._writing and not wanted:
            self._loop.remove_writer(self._fd)
        self._writing = wanted


def _own_view(fd: int) -> int:
    """The same pipe or terminal under an open file description of our own; `fd` itself where that cannot be had."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a socket, or somebody else's terminal
        return fd
