"""Make files of this life again that somebody removed: a cleaner of temporary files knows nothing of a long life.

A look costs a few system calls. Each file has a function that makes it again; a file that cannot be made is tried again
at each look, and said once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from autopilot.safe_files import open_own_file

LOOK_INTERVAL_S = 10.0

OnMoved = Callable[[str], None]  # gets a sentence about something foreign that was moved aside


class KeptFiles:
    """Files of this life, by path, and the functions that make them again."""

    def __init__(self, on_restored: Callable[[str, OSError | None], None]) -> None:
        """Create an empty set.

        Args:
            on_restored: Gets the path of a file that was made again, or with an error of one that cannot be made;
                each failure is told once until it succeeds.
        """
        self._on_restored = on_restored
        self._restore_by_path: dict[str, Callable[[], bool]] = {}
        self._is_present_by_path: dict[str, Callable[[], bool]] = {}
        self._failing: set[str] = set()

    def keep(
        self,
        path: str | os.PathLike[str],
        restore: Callable[[], bool | None],
        is_present: Callable[[], bool] | None = None,
    ) -> None:
        """Keep a file from now on, in place of an earlier entry for its path.

        Args:
            path: The file.
            restore: Makes it again; returns False when it is not to be there now. May raise OSError.
            is_present: Returns True while nothing is to be done; None: while there is anything at `path`.
        """
        name = os.fspath(path)
        self._restore_by_path[name] = lambda: restore() is not False
        self._is_present_by_path[name] = is_present or partial(os.path.lexists, name)

    def keep_lock(self, path: str, descriptor: int, on_moved: OnMoved) -> None:
        """Keep a locked file: another supervisor that makes it anew would have a lock of its own.

        Args:
            path: The file.
            descriptor: The open and locked file.
            on_moved: Gets a sentence when something foreign was in its place.
        """

        def restore() -> None:
            again = open_own_file(path, on_moved)
            try:
                fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(again, 0)
                os.write(again, f"{os.getpid()}\n".encode())
            except OSError:
                os.close(again)
                raise
            self.keep_lock(path, again, on_moved)

        self.keep(path, restore, partial(_is_same_file, path, descriptor))

    def report_restored(self, path: str | os.PathLike[str]) -> None:
        """Tell of a file that its owner has made again by itself."""
        self._on_restored(os.fspath(path), None)

    def restore_missing(self) -> None:
        """Look for each file, and make again those that are missing."""
        for path, restore in list(self._restore_by_path.items()):
            if self._is_present_by_path[path]():
                continue
            try:
                is_restored = restore()
            except OSError as error:
                if path not in self._failing:
                    self._failing.add(path)
                    self._on_restored(path, error)
                continue
            self._failing.discard(path)
            if is_restored:
                self._on_restored(path, None)

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            self.restore_missing()


def make_directory(path: Path, mode: int) -> None:
    """Make a directory again; raise OSError when that is not possible."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)


def _is_same_file(path: str, descriptor: int) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    ours = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
