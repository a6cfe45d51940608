"""Read and write files in folders where others may have put something else in their place.

A container can make a device node of the host in its state folder, and to open one may act: /dev/watchdog, for example,
resets the host a minute later. So a file is looked at by a descriptor that cannot act (O_PATH), and only a regular file
is opened then. A FIFO is never waited for, and a file is written as a new one that takes the place of the old one.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from autopilot_watchdog.errors import WatchdogError

SAFE_FLAGS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotRegularError(WatchdogError, OSError):
    """Something else is in the place of a file."""


def open_regular_file(path: Path, flags: int = os.O_RDONLY, *, follow_link: bool = False) -> int:
    """Open a regular file that is there; return its descriptor.

    Args:
        path: The file.
        flags: O_RDONLY, O_RDWR or O_WRONLY.
        follow_link: Accept a link to a regular file, for paths that an administrator chose.

    Raises:
        NotRegularError: It is no regular file; it was not opened.
        OSError: It cannot be opened.
        ValueError: The path holds a NUL.
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow_link else os.O_NOFOLLOW))
    try:
        if not S_ISREG(os.fstat(place).st_mode):
            raise NotRegularError(errno.EINVAL, "it is no regular file", str(path))
        return os.open(f"/proc/self/fd/{place}", flags | SAFE_FLAGS)
    finally:
        os.close(place)


def read_regular_file(path: Path, max_bytes: int, *, follow_link: bool = False, from_end: bool = False) -> bytes:
    """Return the first bytes of a regular file, or the last ones; raise as `open_regular_file` does."""
    with open(open_regular_file(path, follow_link=follow_link), "rb") as file:
        if from_end:
            file.seek(max(0, os.fstat(file.fileno()).st_size - max_bytes))
        return file.read(max_bytes)


def open_own_file(path: Path) -> int:
    """Open a file of ours for reading and writing; it is created if missing, and anything else is moved aside.

    Raises:
        OSError: It cannot be opened.
    """
    with suppress(FileNotFoundError):
        try:
            return open_regular_file(path, os.O_RDWR)
        except NotRegularError:
            move_aside(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | SAFE_FLAGS, 0o644)


def replace_own_file(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file of ours as a whole: readers see the old content or the new one.

    Args:
        path: The file. Anything else in its place is replaced or, if it is a folder, moved aside.
        data: The new content.
        sync: Wait until it is on the disk.

    Raises:
        OSError: It cannot be written; the old one is unchanged.
    """
    temporary = path.with_suffix(".tmp")
    descriptor = create_new_file(temporary)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        try:
            os.replace(temporary, path)
        except IsADirectoryError:
            move_aside(path)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def create_new_file(path: Path) -> int:
    """Create a file of ours and open it for writing; whatever has its name is removed, or moved aside.

    Raises:
        OSError: It cannot be created.
    """
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        move_aside(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | SAFE_FLAGS, 0o644)


def move_aside(path: Path) -> Path:
    """Rename what is in our place to a name that nothing has, and return the name; raise OSError if that fails."""
    aside = path.with_name(f"{path.name[:200]}.foreign-{secrets.token_hex(4)}")
    os.rename(path, aside)
    return aside
