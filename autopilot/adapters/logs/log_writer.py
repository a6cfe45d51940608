"""Write log lines without ever waiting for their reader.

The supervisor's stdout is often a pipe that another process must empty. While that process does not read, lines wait
in a bounded buffer; when it is full the newest are dropped and counted, and the count is written as soon as there is
room. After the reader has exited, all lines are dropped and counted.
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
STALLED_AFTER_S = 0.5  # the reader counts as stalled after so long without taking a byte
OVERFLOW_FACTOR = 4  # times the buffer while the reader still reads, for the last lines of jobs: they cannot be paced


class LogWriter:
    """A bounded, non-blocking writer of whole lines."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, max_bytes: int = MAX_BUFFER_BYTES) -> None:
        """Write to `fd`.

        Args:
            loop: The running event loop.
            fd: Open for writing. Above 2 the writer owns it and closes it in `reopen`. Standard output has other
                users: a pipe there is opened anew, so that non-blocking mode does not affect them.
            max_bytes: Size of the buffer.
        """
        self._loop = loop
        self._max_bytes = max_bytes
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._waiting_for_writable = False
        self._unreported_bytes = 0  # since the last notice
        self.dropped_bytes = 0  # since the start
        self._last_write_at = loop.time()  # of the last write that the reader took
        self._resume_callbacks: list[Callable[[], None]] = []
        self._set_fd(fd)

    def _set_fd(self, fd: int) -> None:
        kind = os.fstat(fd).st_mode
        self._always_ready = stat.S_ISREG(kind)  # epoll refuses regular files, and writing them never waits
        self._fd = fd if self._always_ready or fd > STDERR_FD else _open_own_description(fd)
        if not self._always_ready:
            os.set_blocking(self._fd, False)

    def reopen(self, fd: int) -> None:
        """Continue in another file: the old one was rotated away."""
        self._watch_writable(False)
        if self._fd > STDERR_FD:  # standard output stays open
            os.close(self._fd)
        self._set_fd(fd)

    def is_backlogged(self) -> bool:
        """Return True while a live reader is behind: pause until `call_when_ready` calls back."""
        return self._queued_bytes > self._max_bytes // 2 and self._loop.time() - self._last_write_at < STALLED_AFTER_S

    def call_when_ready(self, resume: Callable[[], None]) -> None:
        """Call `resume` as soon as there is room, or the reader proves to be stalled."""
        if not self._resume_callbacks:
            self._loop.call_later(STALLED_AFTER_S, self._resume_readers)
        self._resume_callbacks.append(resume)

    def _resume_readers(self) -> None:
        paced, self._resume_callbacks = self._resume_callbacks, []
        for resume in paced:
            resume()

    def drop_if_full(self, size: int) -> bool:
        """Return True, and count `size` bytes as dropped, when the buffer is full: they need not be rendered.

        A batch that begins within the limit may end beyond it: a live reader gets it whole, however large it is.
        """
        alive = self._loop.time() - self._last_write_at < STALLED_AFTER_S
        if self._queued_bytes < self._max_bytes * (OVERFLOW_FACTOR if alive else 1):
            return False
        self.dropped_bytes += size
        self._unreported_bytes += size
        return True

    def write(self, data: bytes) -> None:
        """Write one or more whole lines, or drop and count them."""
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
        """Wait up to `max_wait_s` seconds, while the reader reads, until the buffer is empty."""
        deadline = time.monotonic() + max_wait_s
        self._flush()
        while self._queue and (remaining := deadline - time.monotonic()) > 0:
            select.select([], [self._fd], [], remaining)
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
    """Return a descriptor of the same pipe or terminal with its own open file description; else `fd` itself."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a socket, or another user's terminal
        return fd
