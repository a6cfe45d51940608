"""Wake `watch` from another process: a byte in the named pipe STATE/wake."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

PIPE_NAME = "wake"
MAX_BYTES = 4096  # read at once: bytes that come together are one wake-up


def wake_watch(state_folder: Path) -> bool:
    """Wake the `watch` of a state folder; return False if none listens."""
    pipe = _open_for_writing(state_folder)
    if pipe is None:
        return False
    try:
        os.write(pipe, b"w")
    except OSError as error:
        return error.errno == errno.EAGAIN  # it is full, so the wake-up is under way
    finally:
        os.close(pipe)
    return True


def is_watch_listening(state_folder: Path) -> bool:
    """Return True if a `watch` works with the state folder."""
    pipe = _open_for_writing(state_folder)
    if pipe is None:
        return False
    os.close(pipe)
    return True


def _open_for_writing(state_folder: Path) -> int | None:
    """Open the pipe; return None if there is none or nobody reads it."""
    try:
        pipe = os.open(state_folder / PIPE_NAME, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    if stat.S_ISFIFO(os.fstat(pipe).st_mode):
        return pipe
    os.close(pipe)
    return None


def open_wake_pipe(state_folder: Path) -> int:
    """Create the pipe if need be, and open it for reading.

    It is opened for writing, too, so that it never ends when a writer leaves.

    Raises:
        OSError: The pipe cannot be created or opened.
    """
    path = state_folder / PIPE_NAME
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISFIFO(path.lstat().st_mode):
            path.unlink()
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def forward_wakes(pipe: int, wake: Callable[[], None]) -> None:
    """Call `wake` for every wake-up, for ever."""
    while os.read(pipe, MAX_BYTES):
        wake()
