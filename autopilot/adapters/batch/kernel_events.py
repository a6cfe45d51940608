"""Wait for kernel notifications: a directory changed (inotify), a process ended (pidfd).

A job's directory appears and goes without a poll in between. Python has no inotify; its calls are made through ctypes.
Where they fail (a limit, a seccomp filter) the caller's poll still sees every change, only later.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_ONLYDIR = 0x40, 0x80, 0x100, 0x200, 0x01000000
IN_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


class DirectoryWatch:
    """A callback for each burst of appearing and vanishing entries of one directory."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._descriptor: int | None = None

    @property
    def is_watching(self) -> bool:
        """True from a successful start until the end, or until the directory is removed."""
        return self._descriptor is not None

    def start(self, directory: Path, loop: asyncio.AbstractEventLoop) -> bool:
        """Begin, unless it has begun. Returns False when the kernel refuses: then nothing is ever reported."""
        if self._descriptor is not None:
            return True
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            return False
        events = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR
        if libc.inotify_add_watch(descriptor, os.fsencode(directory), events) < 0:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        loop.add_reader(descriptor, self._read, loop)
        return True

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """End."""
        if self._descriptor is not None:
            loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._descriptor is not None, "read only while it is watched"
        with contextlib.suppress(BlockingIOError):
            if has_lost_directory(os.read(self._descriptor, 64 * 1024)):
                self.stop(loop)
        self._on_change()


def has_lost_directory(events: bytes) -> bool:
    """Return True when the kernel says, in the data of an inotify descriptor, that the directory is gone."""
    offset = 0
    while offset + _EVENT.size <= len(events):
        _, mask, _, name_length = _EVENT.unpack_from(events, offset)
        if mask & IN_IGNORED:
            return True
        offset += _EVENT.size + name_length
    return False


class ProcessEndWatch:
    """A callback for each end of a watched process; it need not be our child."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._descriptors: dict[int, int] = {}

    def set_watched(self, pids: set[int], loop: asyncio.AbstractEventLoop) -> None:
        """Watch exactly these processes from now on."""
        for pid in self._descriptors.keys() - pids:
            self._drop(pid, loop)
        for pid in pids - self._descriptors.keys():
            with contextlib.suppress(OSError):  # already gone, or out of descriptors: the poll will see
                descriptor = os.pidfd_open(pid)
                self._descriptors[pid] = descriptor
                loop.add_reader(descriptor, self._handle_end, pid, loop)

    @property
    def is_watching(self) -> bool:
        """True while a process is watched."""
        return bool(self._descriptors)

    def _handle_end(self, pid: int, loop: asyncio.AbstractEventLoop) -> None:
        self._drop(pid, loop)
        self._on_end()

    def _drop(self, pid: int, loop: asyncio.AbstractEventLoop) -> None:
        descriptor = self._descriptors.pop(pid)
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def wait_until_ended(pids: Iterable[int], max_wait_s: float) -> None:
    """Return when all these processes have ended, at the latest after `max_wait_s` seconds."""
    loop, all_gone = asyncio.get_running_loop(), asyncio.Event()
    watch = ProcessEndWatch(lambda: None if watch.is_watching else all_gone.set())
    watch.set_watched(set(pids), loop)
    try:
        if watch.is_watching:
            async with asyncio.timeout(max(0.0, max_wait_s)):
                await all_gone.wait()
    except TimeoutError:
        pass
    finally:
        watch.set_watched(set(), loop)


async def wait_and_clear(event: asyncio.Event, max_wait_s: float) -> None:
    """Wait for the event, at most `max_wait_s` seconds, and clear it."""
    try:
        async with asyncio.timeout(max_wait_s):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
