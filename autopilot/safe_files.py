"""Open files in directories that other programs may write: the state directory, a job's directory, a payload's sandbox.

Each function opens the directory first and the file by its descriptor, so that nobody can exchange the directory
between two steps. A final link is never followed, a FIFO never waited for, and only a regular file with one name is
used. Anything else at a place of ours is moved aside, so that the life goes on and an admin can look at it. This module
imports little on purpose: the first job waits for it.
"""

from __future__ import annotations

import errno
import os
from stat import S_IFMT, S_ISDIR, S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    OnMoved = Callable[[str], None]  # gets one sentence for the log

MAX_ATTEMPTS = 5  # to move aside the things that another program puts in our place
DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
SAFE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
KINDS = {0o010000: "a FIFO", 0o020000: "a device", 0o040000: "a directory", 0o060000: "a device", 0o120000: "a link"}


def read_file(
    path: str | os.PathLike[str],
    max_bytes: int,
    *,
    is_trusted: Callable[[os.stat_result], bool] = lambda _: True,
    follow_link: bool = False,
    from_end: bool = False,
    offset: int = 0,
) -> bytes:
    """Return the first bytes of a regular file, the last ones, or those from a place on.

    Args:
        path: The file.
        max_bytes: The largest number of bytes to read.
        is_trusted: Gets the file's owner and permissions; the file is refused if it returns False.
        follow_link: Accept a link to a regular file: for files of an admin, which a ConfigMap links for example.
        from_end: Return the last bytes: of a log, for example.
        offset: The place of the first byte to read, without `from_end`.

    Raises:
        OSError: It cannot be read, is no regular file, or is not trusted.
    """
    directory, name = _open_parent(path)
    try:
        flags = SAFE_FLAGS & ~os.O_NOFOLLOW if follow_link else SAFE_FLAGS
        # not opened if it is a device: that alone may act
        _require_regular(os.stat(name, dir_fd=directory, follow_symlinks=follow_link), path)
        descriptor = os.open(name, os.O_RDONLY | flags, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        status = os.fstat(descriptor)
        _require_regular(status, path)
        if not is_trusted(status):
            raise PermissionError(errno.EPERM, "others may write it", os.fspath(path))
        if from_end or offset:
            os.lseek(descriptor, max(0, status.st_size - max_bytes) if from_end else offset, os.SEEK_SET)
        parts = []
        while max_bytes > 0 and (part := os.read(descriptor, min(max_bytes, 1 << 16))):
            parts.append(part)
            max_bytes -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def replace_file(
    path: str | os.PathLike[str],
    data: bytes,
    mode: int,
    *,
    owner: tuple[int, int] | None = None,
    on_moved: OnMoved = lambda _: None,
) -> None:
    """Write a file as a whole: readers see the old content or the new one.

    Args:
        path: The file. Its directory is created if it is missing.
        data: The new content.
        mode: The permissions.
        owner: The user's and the group's id; None for ours.
        on_moved: Gets a sentence when something that is no regular file had to be moved aside.

    Raises:
        OSError: The file cannot be written; the old one is unchanged.
    """
    _make_parents(path)
    directory, name = _open_parent(path)
    temporary = f".{name[:200]}.tmp"  # always the same: a process that is killed leaves one at most
    try:
        descriptor = _create_new(directory, temporary, os.path.join(os.path.dirname(path), temporary), on_moved)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if owner is not None:
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
            _move_aside_unless(S_ISREG, directory, path, on_moved)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(temporary, dir_fd=directory)
            raise
    finally:
        os.close(directory)


def _create_new(directory: int, name: str, path: str, on_moved: OnMoved) -> int:
    """Return the descriptor of a new file; a file or link of the same name is removed, a directory moved aside."""
    for _ in range(MAX_ATTEMPTS):
        try:
            return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE_FLAGS, 0o600, dir_fd=directory)
        except FileExistsError:
            try:
                os.unlink(name, dir_fd=directory)
            except IsADirectoryError:
                _move_aside(directory, path, on_moved)
    raise OSError(errno.EBUSY, "something else is put there again and again", path)


def open_own_file(path: str | os.PathLike[str], on_moved: OnMoved) -> int:
    """Return a descriptor, for reading and writing, of a regular file with one name, which is created if missing.

    Args:
        path: The file. Its directory is created if it is missing.
        on_moved: Gets a sentence when something else had to be moved aside.

    Raises:
        OSError: The file cannot be opened, or another program puts something else there again and again.
    """
    _make_parents(path)
    directory, name = _open_parent(path)
    try:
        for _ in range(MAX_ATTEMPTS):
            _move_aside_unless(S_ISREG, directory, path, on_moved)  # a device is not opened: that alone may act
            try:
                descriptor = os.open(name, os.O_RDWR | os.O_CREAT | SAFE_FLAGS, 0o600, dir_fd=directory)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV):
                    raise
            else:
                status = os.fstat(descriptor)
                if S_ISREG(status.st_mode) and status.st_nlink <= 1:
                    return descriptor
                os.close(descriptor)
            _move_aside(directory, path, on_moved)
        raise OSError(errno.EBUSY, "something else is put there again and again", os.fspath(path))
    finally:
        os.close(directory)


def rename_own_file(path: str | os.PathLike[str], new_name: str, on_moved: OnMoved) -> None:
    """Rename a regular file in its directory, if it is there; anything else at either place is moved aside.

    Args:
        path: The file. Its directory is created if it is missing.
        new_name: The new name in the same directory.
        on_moved: Gets a sentence when something had to be moved aside.

    Raises:
        OSError: It cannot be renamed.
    """
    _make_parents(path)
    directory, name = _open_parent(path)
    try:
        if _move_aside_unless(S_ISREG, directory, path, on_moved):
            _move_aside_unless(S_ISREG, directory, os.path.join(os.path.dirname(path), new_name), on_moved)
            os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)


def make_own_directory(path: str | os.PathLike[str], mode: int, on_moved: OnMoved) -> int:
    """Return the descriptor of a directory inside one that others may write; it is created if missing.

    Args:
        path: The directory. A link, or anything else that is no directory, is moved aside.
        mode: The permissions of a new directory.
        on_moved: Gets a sentence when something had to be moved aside.

    Raises:
        OSError: The directory cannot be made or opened.
    """
    _make_parents(path)
    directory, name = _open_parent(path)
    try:
        _move_aside_unless(S_ISDIR, directory, path, on_moved)
        try:  # noqa: SIM105 - contextlib would have to be loaded before the first job
            os.mkdir(name, mode, dir_fd=directory)
        except FileExistsError:
            pass
        return os.open(name, DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
    finally:
        os.close(directory)


def move_aside_unless_socket(path: str, on_moved: OnMoved) -> bool:
    """Return True when there is a socket at `path`; anything else there is moved aside.

    Raises:
        OSError: It cannot be moved.
    """
    from stat import S_ISSOCK

    directory, _ = _open_parent(path)
    try:
        return _move_aside_unless(S_ISSOCK, directory, path, on_moved)
    finally:
        os.close(directory)


def _move_aside_unless(
    is_expected: Callable[[int], bool], directory: int, path: str | os.PathLike[str], on_moved: OnMoved
) -> bool:
    """Return True when the file has the expected kind, False when there is none (any more)."""
    try:
        status = os.stat(os.path.basename(path), dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if is_expected(status.st_mode):
        return True
    _move_aside(directory, path, on_moved)
    return False


def _move_aside(directory: int, path: str | os.PathLike[str], on_moved: OnMoved) -> None:
    name = os.path.basename(path)
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        aside = f"{name[:200]}.foreign-{_draw_suffix()}"
        os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)
    except FileNotFoundError:
        return
    kind = KINDS.get(S_IFMT(status.st_mode), "not a file of ours")
    on_moved(f"{os.fspath(path)} was {kind}, put there by another program: moved aside to {aside}")


def _require_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not S_ISREG(status.st_mode):
        kind = KINDS.get(S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, no regular file", os.fspath(path))


def _make_parents(path: str | os.PathLike[str]) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)


def _open_parent(path: str | os.PathLike[str]) -> tuple[int, str]:
    """Return the descriptor of the file's directory, and the file's name."""
    folder, name = os.path.split(os.fspath(path))
    return os.open(folder or ".", DIRECTORY_FLAGS), name


def _draw_suffix() -> str:
    return os.urandom(4).hex()
