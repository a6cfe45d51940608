"""Learn from the kernel (inotify) that entries appear in directories.

Python has no inotify; its calls are made through ctypes. Where they fail (a limit, a seccomp filter, a network file
system) nothing is reported, and the caller's looks see every change, only later.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Callable, Iterable

IN_MOVED_TO, IN_CREATE, IN_ONLYDIR, IN_IGNORED = 0x80, 0x100, 0x01000000, 0x8000
EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
READ_BYTES = 64 * 1024


class DirectoryWatches:
    """A callback for each burst of entries that appear in some directories."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Watch nothing yet; `on_change` is called from the running event loop."""
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watches: dict[str, int] = {}  # by directory
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor >= 0:
            self._loop.add_reader(self._descriptor, self._read)

    def set_watched(self, directories: Iterable[str]) -> bool:
        """Watch exactly these directories from now on, as far as the kernel lets us; return True for a new one."""
        if self._descriptor < 0:
            return False
        wanted, has_new = set(directories), False
        for directory in self._watches.keys() - wanted:
            self._libc.inotify_rm_watch(self._descriptor, self._watches.pop(directory))
        for directory in wanted - self._watches.keys():
            mask = IN_CREATE | IN_MOVED_TO | IN_ONLYDIR
            watch = self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), mask)
            if watch >= 0:
                self._watches[directory] = watch
                has_new = True
        return has_new

    def close(self) -> None:
        """End."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._forget_removed(os.read(self._descriptor, READ_BYTES))
        self._on_change()

    def _forget_removed(self, data: bytes) -> None:
        """Forget directories that are gone, so that new ones of the same name are watched."""
        at, removed = 0, set()
        while at + EVENT.size <= len(data):
            watch, mask, _, length = EVENT.unpack_from(data, at)
            if mask & IN_IGNORED:
                removed.add(watch)
            at += EVENT.size + length
        if removed:
            self._watches = {path: watch for path, watch in self._watches.items() if watch not in removed}
