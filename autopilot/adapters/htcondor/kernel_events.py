"""What the kernel tells without being asked: a directory changed (inotify), a process ended (pidfd).

A job's directory appears and goes, and nobody has to look in between. Python has no inotify of its own; its calls are
made through ctypes. Where they fail (a limit, a seccomp filter) the caller's poll still sees everything, only later.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_ONLYDIR = 0x40, 0x80, 0x100, 0x200, 0x01000000


class DirectoryWatch:
    """Calls `changed` when an entry of the directory appears or goes; the events themselves are thrown away."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._descriptor: int | None = None

    def start(self, folder: Path, loop: asyncio.AbstractEventLoop) -> bool:
        """False when the kernel refuses; then nothing is ever reported. Idempotent once it worked."""
        if self._descriptor is not None:
            return True
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            return False
        events = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR
        if libc.inotify_add_watch(descriptor, os.fsencode(folder), events) < 0:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        loop.add_reader(descriptor, self._read)
        return True

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._descriptor is not None:
            loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> None:
        assert self._descriptor is not None, "read only while it is watched"
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 64 * 1024)
        self._changed()


class EndWatch:
    """Calls `ended` when one of the followed processes ends, by pidfd. Works for processes that are not our
    children."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._descriptors: dict[int, int] = {}

    def follow(self, pids: set[int], loop: asyncio.AbstractEventLoop) -> None:
        """From now on exactly these."""
        for pid in self._descriptors.keys() - pids:
            self._drop(pid, loop)
        for pid in pids - self._descriptors.keys():
            with contextlib.suppress(OSError):  # already gone, or out of descriptors: the poll will see
                descriptor = os.pidfd_open(pid)
                self._descriptors[pid] = descriptor
                loop.add_reader(descriptor, self._over, pid, loop)

    @property
    def following(self) -> bool:
        return bool(self._descriptors)

    def _over(self, pid: int, loop: asyncio.AbstractEventLoop) -> None:
        self._drop(pid, loop)
        self._ended()

    def _drop(self, pid: int, loop: asyncio.AbstractEventLoop) -> None:
        descriptor = self._descriptors.pop(pid)
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def ended(pids: Iterable[int], within: float) -> None:
    """Returns when all these processes have ended, at the latest after `within` seconds."""
    loop, all_gone = asyncio.get_running_loop(), asyncio.Event()
    watch = EndWatch(lambda: None if watch.following else all_gone.set())
    watch.follow(set(pids), loop)
    try:
        if watch.following:
            async with asyncio.timeout(max(0.0, within)):
                await all_gone.wait()
    except TimeoutError:
        pass
    finally:
        watch.follow(set(), loop)
