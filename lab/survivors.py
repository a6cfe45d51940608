"""What an engine leaves running when it is killed."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def kill_processes(command_line_part: str) -> None:
    """SIGKILL every process with `mark` in its command line, and all that descends from it."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may just have ended
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if command_line_part.encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    for pid in found - {os.getpid()}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
