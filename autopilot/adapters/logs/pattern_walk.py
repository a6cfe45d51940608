"""Find the files of a pattern with wildcards, in directories that other programs may write and fill.

Each directory is opened by the descriptor of the one before it, so that nobody can exchange one in between. A link to a
directory is followed only if root or our own user has made it: a payload cannot lead us out of its sandbox. Directories
are read in bounded length, and links are followed in bounded number.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Generator
from contextlib import closing
from fnmatch import translate
from glob import has_magic
from itertools import islice
from typing import NamedTuple

from autopilot.safe_files import DIRECTORY_FLAGS

PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LINKS = 8  # each in the target of the one before
MAX_LINK_STEPS = 5000  # names in the targets of links, in one walk: some 50 ms
MAX_DIRECTORIES = 256  # that are searched in one walk
MAX_DIRECTORY_ENTRIES = 10_000  # that are read of one directory
MAX_ENTRIES = 50_000  # that are read in one walk: some 50 ms
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # which say nothing about the directory


class FoundEntry(NamedTuple):
    """A name that fits a pattern; there may be no such file.

    Attributes:
        path: The whole path, for people.
        directory: The descriptor of its directory, which is closed when the search goes on.
        name: The name in that directory.
        inode: Its inode as the directory has it, which costs nothing; None for a name without a wildcard.
        found_directory: The path of the directory if a wildcard has found it, as one of many; else None.
    """

    path: str
    directory: int
    name: str
    inode: int | None
    found_directory: str | None


class PatternWalk:
    """One bounded walk over the files of several patterns."""

    def __init__(self) -> None:
        self.directories: dict[str, None] = {}
        """The directories in which further entries of the patterns may appear, in their order."""
        self.is_limited = False  # there were too many entries, directories or links
        self._room = MAX_ENTRIES
        self._link_room = MAX_LINK_STEPS

    def find_entries(self, pattern: str) -> Generator[FoundEntry, None, None]:
        """Yield the names that fit an absolute pattern.

        Raises:
            OSError: The search is incomplete, because this process or the machine is short of something.
        """
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        if not parts:  # "/" is no file
            return
        root = os.open("/", PATH_FLAGS | os.O_DIRECTORY)
        try:
            yield from self._search(root, "", parts, is_found=False)
        finally:
            os.close(root)

    def _search(
        self, directory: int, path: str, parts: list[str], *, is_found: bool
    ) -> Generator[FoundEntry, None, None]:
        part, *rest = parts
        if has_magic(part) or not rest:
            if len(self.directories) >= MAX_DIRECTORIES and (path or "/") not in self.directories:
                self.is_limited = True
                return
            self.directories[path or "/"] = None
        names: list[tuple[str, int | None]] = [(part, None)]
        if has_magic(part):
            names, is_found = [*self._list_names(directory, part)], is_found or bool(rest)
        for name, inode in names:
            if not rest:
                yield FoundEntry(f"{path}/{name}", directory, name, inode, path if is_found else None)
                continue
            try:
                child = self._open_directory(directory, name)
            except OSError as error:
                if error.errno in SHORTAGES:
                    raise
                continue
            try:
                with closing(self._search(child, f"{path}/{name}", rest, is_found=is_found)) as found:
                    yield from found
            finally:
                os.close(child)

    def _list_names(self, directory: int, part: str) -> list[tuple[str, int]]:
        """Return names that fit a part of a pattern, and their inodes; a leading dot is written out, as in a shell."""
        try:
            descriptor = os.open(".", DIRECTORY_FLAGS, dir_fd=directory)
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            return []
        room = min(self._room, MAX_DIRECTORY_ENTRIES)
        try:
            with os.scandir(descriptor) as entries:
                names = [(entry.name, entry.inode()) for entry in islice(entries, room)]
        except OSError:
            return []
        finally:
            os.close(descriptor)
        self._room -= len(names)
        self.is_limited = self.is_limited or len(names) == room
        fits = re.compile(translate(part)).match
        shows_hidden = part.startswith(".")
        return sorted(found for found in names if fits(found[0]) and (shows_hidden or not found[0].startswith(".")))

    def _open_directory(self, parent: int, name: str, max_links: int = MAX_LINKS) -> int:
        """Return a descriptor of a directory, as a place to search names in.

        Args:
            parent: The descriptor of the directory that it is in.
            name: Its name. A link is followed only if root or our own user has made it.
            max_links: The number of links that may be followed.

        Raises:
            OSError: There is no such directory, or a link to it is not followed.
        """
        descriptor = os.open(name, PATH_FLAGS, dir_fd=parent)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            return descriptor
        try:
            if not stat.S_ISLNK(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "it is no directory", name)
            if max_links <= 0 or status.st_uid not in (0, os.geteuid()):
                raise OSError(errno.ELOOP, "the link is not followed", name)
            target = os.readlink("", dir_fd=descriptor)
        finally:
            os.close(descriptor)
        at = os.open("/" if target.startswith("/") else ".", PATH_FLAGS, dir_fd=parent)
        try:
            for part in target.split("/"):
                if part in ("", "."):
                    continue
                if self._link_room <= 0:
                    self.is_limited = True
                    raise OSError(errno.ELOOP, "there are too many links", name)
                self._link_room -= 1
                at, former = self._open_directory(at, part, max_links - 1), at
                os.close(former)
        except OSError:
            os.close(at)
            raise
        return at
