"""Find out what keeps this process from reading or writing a path; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from autopilot.spec.findings import Finding
from autopilot.spec.key_paths import KeyPath

MAX_INTERPRETER_LINE_BYTES = 256  # the kernel reads no more


def build_machine_warning(path: KeyPath, verb: str, reason: str) -> Finding:
    """Return a warning about this machine: `cannot be VERB on this machine: REASON`."""
    return Finding(path, f"cannot be {verb} on this machine: {reason}", warning=True)


def find_read_problem(path: str) -> str:
    """Return a sentence when a file cannot be read, else ""."""
    if not os.path.exists(path):
        return f'there is no "{path}"'
    return "" if os.access(path, os.R_OK) else f'uid {os.geteuid()} may not read "{path}"'


def find_write_problem(directory: str) -> str:
    """Return a sentence when a directory cannot be written, or not be made, else ""."""
    existing = directory
    while not os.path.lexists(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing) or "."
    if not os.path.isdir(existing):
        return f'"{existing}" is not a directory'
    if os.access(existing, os.W_OK | os.X_OK):
        return ""
    return f'uid {os.geteuid()} may not write into "{existing}"'


def find_file_problem(path: str) -> str:
    """Return a sentence when a file cannot be opened for writing, else ""; its directory is not made."""
    if os.path.exists(path):
        return "" if os.access(path, os.W_OK) else f'uid {os.geteuid()} may not write "{path}"'
    directory = os.path.dirname(path) or "."
    return find_write_problem(directory) if os.path.isdir(directory) else f'there is no directory "{directory}"'


def find_interpreter_problem(program: str) -> str:
    """Return a sentence when a program is a script whose interpreter is missing, else ""."""
    try:
        descriptor = os.open(program, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            head = os.read(descriptor, MAX_INTERPRETER_LINE_BYTES)
        finally:
            os.close(descriptor)
    except OSError:  # it may be executable without being readable
        return ""
    if not head.startswith(b"#!"):
        return ""
    words = head[2:].split(b"\n")[0].split()
    interpreter = os.fsdecode(words[0]) if words else ""
    if interpreter and os.path.exists(interpreter):
        return ""
    return f'"{program}" is a script for "{interpreter}", which is not there'


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
