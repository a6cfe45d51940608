"""Be told at once when the configuration's file may have changed.

The kernel tells changes in a folder by a signal (dnotify). That needs no thread and no C library, and a file that
replaces another one is seen, too. Links are followed: the folders of all links on the way are watched. Where the kernel
cannot tell, such as for changes that another host makes on a network file system, the next pass sees them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

MAX_LINKS = 40  # on the way to one file, as the kernel has it
CHANGES = fcntl.DN_MODIFY | fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_ATTRIB | fcntl.DN_MULTISHOT


class ConfigNotifier:
    """Subscription to the changes in the folders on the way to a file; one per process, in the main thread."""

    def __init__(self, path: Path, tell: Callable[[], None]) -> None:
        """Subscribe.

        Args:
            path: The file.
            tell: Called by a signal handler after any change in a folder: compare the file first.
        """
        self._path = os.path.abspath(path)
        self._folders: dict[tuple[int, int], int] = {}  # the open folders' descriptors by device and inode
        signal.signal(signal.SIGIO, lambda *_: tell())  # before the first subscription: the signal ends a process
        self.refresh()

    def refresh(self) -> None:
        """Subscribe to the folders that are on the way now, and to no others."""
        former, self._folders = self._folders, {}
        for folder in list_folders(self._path):
            with contextlib.suppress(OSError):  # there is no such folder now, or the kernel cannot tell
                status = os.stat(folder)
                key = status.st_dev, status.st_ino
                if key not in self._folders:
                    self._folders[key] = former.pop(key) if key in former else _subscribe(folder)
        for unused in former.values():
            os.close(unused)


def _subscribe(folder: str) -> int:
    """Return the descriptor of a folder with a subscription, which ends when it is closed."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(opened, fcntl.F_NOTIFY, CHANGES)
    except OSError:
        os.close(opened)
        raise
    return opened


def list_folders(path: str) -> list[str]:
    """Return the folders in which a change can change the content of the file with this absolute path."""
    folders: dict[str, None] = {}
    for _ in range(MAX_LINKS):
        folders[os.path.dirname(path)] = None
        place = path
        while place != os.path.dirname(place):
            if os.path.islink(place):
                folders[os.path.dirname(place)] = None
            place = os.path.dirname(place)
        if not os.path.islink(path):
            break
        with contextlib.suppress(OSError):
            path = os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(path)), os.readlink(path)))
    return list(folders)
