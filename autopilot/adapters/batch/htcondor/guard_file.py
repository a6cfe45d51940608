"""Write the program that condor_master starts in place of condor_startd; see `startd_guard`."""

from __future__ import annotations

import os
import shlex
import sys
from importlib import resources
from pathlib import Path

from autopilot.safe_files import replace_file

FILE_NAME = "startd_guard"
DEFAULT_STARTD = "/usr/sbin/condor_startd"


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


def write_guard(directory: Path, startd: str) -> Path:
    """Write the guard into a directory, and return its path.

    Raises:
        OSError: It cannot be written, or not be executed there (`noexec`).
        ValueError: A path has characters that a shell treats as special.
    """
    source = resources.files(__package__).joinpath("startd_guard.py").read_text()
    path = directory / FILE_NAME
    replace_file(path, build_program(source, sys.executable, startd).encode(), 0o755)
    if not os.access(path, os.X_OK):
        raise PermissionError(f"{directory} is mounted noexec")
    return path
