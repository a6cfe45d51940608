"""Write the program that condor_master starts in place of condor_startd; see `startd_guard`."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from importlib import resources
from pathlib import Path

from autopilot.safe_files import replace_file

FILE_TIME = 1  # always the same: condor_master stops the startd when the time of its program changes


def build_program(source: str, python: str, startd: str) -> str:
    """Return an executable text that runs `source`: `sh` sees a command in its second line, Python only strings.

    Args:
        source: The source of `startd_guard`.
        python: The interpreter's path. In the first line the kernel would take neither a long path nor blanks.
        startd: The path of condor_startd.

    Raises:
        ValueError: One of the paths cannot stand in both languages.
    """
    for path in (python, startd):
        if shlex.quote(path) != path:
            raise ValueError(f"the path {path!r} has characters that a shell treats as special")
    return f'#!/bin/sh\n"exec" "{python}" "-IS" "$0" "{startd}" "$@"\n{source}'


def write_guard(path: Path, startd: str, *, for_others: bool = False) -> None:
    """Write the guard.

    Args:
        path: Its place, in the state directory.
        startd: The path of condor_startd.
        for_others: condor_master runs as another user, who must be able to reach the guard.

    Raises:
        OSError: It cannot be written or executed there, others could replace it, or the startd is no program.
        ValueError: A path has characters that a shell treats as special.
    """
    if not os.access(startd, os.X_OK):
        raise FileNotFoundError(errno.ENOENT, f"{startd} is no program")
    source = resources.files(__package__).joinpath("startd_guard.py").read_text()
    replace_file(path, build_program(source, sys.executable, startd).encode(), 0o755)
    os.utime(path, (FILE_TIME, FILE_TIME))
    directory = path.parent
    status = directory.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise PermissionError(errno.EPERM, f"others may write {directory}, and condor_master would run their program")
    if not os.access(path, os.X_OK):
        raise PermissionError(errno.EPERM, f"{directory} is mounted noexec")
    if for_others and not all(folder.stat().st_mode & 0o001 for folder in path.parents):
        raise PermissionError(errno.EPERM, f"condor_master runs as another user, who cannot search {directory}")
