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

STDERR_FD = 2
MAX_BUFFER_BYTES = 1 << 20  # bytes that may wait
STALLED_AFTER_S = 0.5  # s without a byte taken: nobody reads
OVERFLOW_FACTOR = (
    4  # times the buffer, for the last lines of a job, which cannot be paced, and a reader that still reads
)


class LogWriter:
    """`fd` must be open for writing. Above 2 it is ours alone, and is closed when another takes its place. Our standard
    output has other users: a pipe there is opened anew, so that our non-blocking mode is not theirs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, max_bytes: int = MAX_BUFFER_BYTES) -> None:
        self._loop = loop
        self._max_bytes = max_bytes
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._waiting_for_writable = False
        self._unreported_bytes = 0  # bytes dropped since the last notice
        self.dropped_bytes = 0  # bytes, ever
        self._last_write_at = loop.time()  # when the reader last took something
        self._resume_callbacks: list[Callable[[], None]] = []
        self._set_fd(fd)

    def _set_fd(self, fd: int) -> None:
        kind = os.fstat(fd).st_mode
        self._always_ready = stat.S_ISREG(kind)  # epoll refuses regular files, and they never make us wait for a reader
        self._fd = fd if self._always_ready or fd > STDERR_FD else _open_own_description(fd)
        if not self._always_ready:
            os.set_blocking(self._fd, False)

    def reopen(self, fd: int) -> None:
        """Go on in another file: the old one was rotated away."""
        self._watch_writable(False)
        if self._fd > STDERR_FD:  # not our standard output, where it is used as it is
            os.close(self._fd)
        self._set_fd(fd)

    def is_backlogged(self) -> bool:
        """The reader is alive but behind: who can wait should, until `when_room` calls."""
        return self._queued_bytes > self._max_bytes // 2 and self._loop.time() - self._last_write_at < STALLED_AFTER_S

    def call_when_ready(self, resume: Callable[[], None]) -> None:
        """Call `resume` once there is room, or once the reader turns out to be stuck."""
        if not self._resume_callbacks:
            self._loop.call_later(STALLED_AFTER_S, self._resume_readers)
        self._resume_callbacks.append(resume)

    def _resume_readers(self) -> None:
        paced, self._resume_callbacks = self._resume_callbacks, []
        for resume in paced:
            resume()

    def drop_if_full(self, size: int) -> bool:
        """There is no room for `size` more bytes: they are counted as dropped, and need not be made.

        A batch that begins within the limit may end beyond it: however large, it is not lost to a reader that reads.
        """
        alive = self._loop.time() - self._last_write_at < STALLED_AFTER_S
        if self._queued_bytes < self._max_bytes * (OVERFLOW_FACTOR if alive else 1):
            return False
        self.dropped_bytes += size
        self._unreported_bytes += size
        return True

    def write(self, data: bytes) -> None:
        """One or more whole lines."""
        if self.drop_if_full(len(data)):
            return
        if self._unreported_bytes:
            notice = f"autopilot: {self._unreported_bytes} bytes of log dropped: nobody read them\n".encode()
            self._unreported_bytes = 0
            self._append(notice)
        self._append(data)
        if not self._waiting_for_writable:
            self._flush()

    def flush_remaining(self, max_wait_s: float = 1.0) -> None:
        """The end: give a reader that still reads up to `patience` seconds for what is left."""
        until = time.monotonic() + max_wait_s
        self._flush()
        while self._queue and (left := until - time.monotonic()) > 0:
            select.select([], [self._fd], [], left)
            self._flush()

    def _append(self, data: bytes) -> None:
        self._queue.append(data)
        self._queued_bytes += len(data)

    def _flush(self) -> None:
        while self._queue:
            data = self._queue[0]
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                self._watch_writable(True)
                return
            except OSError:  # EPIPE: the reader is gone; ENOSPC: the disk is full. A log must not end us
                written = len(data)
                self.dropped_bytes += written
            self._queued_bytes -= written
            self._last_write_at = self._loop.time()
            if written < len(data):
                self._queue[0] = data[written:]
            else:
                self._queue.popleft()
            if self._resume_callbacks and self._queued_bytes < self._max_bytes // 4:
                self._resume_readers()
        self._watch_writable(False)

    def _watch_writable(self, wanted: bool) -> None:
        if wanted and not self._waiting_for_writable:
            self._loop.add_writer(self._fd, self._flush)
        elif self._waiting_for_writable and not wanted:
            self._loop.remove_writer(self._fd)
        self._waiting_for_writable = wanted


def _open_own_description(fd: int) -> int:
    """The same pipe or terminal under an open file description of our own; `fd` itself where that cannot be had."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a socket, or somebody else's terminal
        return fd
