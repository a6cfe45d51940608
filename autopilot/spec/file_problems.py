"""Find out what keeps this process from reading or writing a path; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from stat import S_ISFIFO, S_ISSOCK

from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import KeyPath


def build_machine_warning(path: KeyPath, verb: str, reason: str) -> Finding:
    """Return a warning about this machine: `cannot be VERB on this machine: REASON`."""
    return Finding(path, f"cannot be {verb} on this machine: {reason}", warning=True)


def find_read_problem(path: str, *, takes_directory: bool = False) -> str:
    """Return a sentence when a file cannot be read, else ""; a directory is no file unless `takes_directory`."""
    if not os.path.exists(path):
        return f'there is no "{path}"'
    if os.path.isdir(path) and not takes_directory:
        return f'"{path}" is a directory; name the file in it'
    return "" if os.access(path, os.R_OK) else f'uid {os.geteuid()} may not read "{path}"'


def find_write_problem(directory: str) -> str:
    """Return a sentence when a directory cannot be written, or not be made, else ""."""
    existing = directory
    while not os.path.lexists(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing) or "."
    if not os.path.isdir(existing):
        return f'"{existing}" is not a directory'
    if is_on_kernel_filesystem(existing):
        return f'"{existing}" belongs to the kernel: no file can be made there'
    if os.access(existing, os.W_OK | os.X_OK):
        return ""
    return f'uid {os.geteuid()} may not write into "{existing}"'


def is_on_kernel_filesystem(directory: str) -> bool:
    """Return True below /proc and /sys, where root may write by the permissions, but make no file."""
    mounts = (place for place in ("/proc", "/sys") if os.path.ismount(place))
    return os.stat(directory).st_dev in {os.stat(place).st_dev for place in mounts}


def find_file_problem(path: str) -> str:
    """Return a sentence when a file cannot be opened for writing, else ""; its directory is not made."""
    if os.path.isdir(path):
        return f'"{path}" is a directory; name a file in it'
    if os.path.exists(path):
        if not os.path.exists(os.path.realpath(path)):  # as /dev/stdout: a pipe or socket that is open already
            return ""
        mode = os.stat(path).st_mode
        if S_ISSOCK(mode):
            return f'"{path}" is a socket; name a file'
        if S_ISFIFO(mode):
            return f'"{path}" is a FIFO, which needs a reader that has opened it before'
        return "" if os.access(path, os.W_OK) else f'uid {os.geteuid()} may not write "{path}"'
    directory = os.path.dirname(path) or "."
    return find_write_problem(directory) if os.path.isdir(directory) else f'there is no directory "{directory}"'


def find_destination_problem(path: str) -> str:
    """Return a sentence when a file cannot be put in place of what is at `path`, else ""."""
    if os.path.isdir(path) and not os.path.islink(path):
        return f'"{path}" is a directory; name a file in it'
    return find_write_problem(os.path.dirname(path))


def find_access_problem(path: str, uid: int, groups: Collection[int]) -> str:
    """Return a sentence when a user may not execute a program, or not enter a directory, else "".

    Access control lists may allow more than the mode says; where there is one, nothing is said.

    Args:
        path: The program or directory; it exists.
        uid: The user.
        groups: The ids of all of the user's groups.
    """
    if uid == 0:
        return ""
    found = Path(os.path.abspath(path))
    real = found.resolve()
    for place in dict.fromkeys((*reversed(found.parents), *reversed(real.parents), real)):
        try:
            status = os.stat(place)
            if "system.posix_acl_access" in os.listxattr(place):
                continue
        except OSError:  # out of our own sight
            return ""
        shift = 6 if status.st_uid == uid else 3 if status.st_gid in groups else 0
        if not status.st_mode >> shift & 1:
            verb = "enter" if os.path.isdir(place) else "execute"
            return f'uid {uid} may not {verb} "{place}"'
    return ""


def read_number(path: str) -> int | None:
    """Return the whole number in a file of the kernel; None where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
