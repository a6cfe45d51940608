"""Kill the processes that outlive a killed engine."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def kill_processes(command_line_part: str) -> None:
    """Kill every process whose command line contains `command_line_part`, and all its descendants."""
    parents: dict[int, int] = {}
    pids: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may just have ended
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if command_line_part.encode() in (folder / "cmdline").read_bytes():
                pids.add(int(folder.name))
    while more := {pid for pid, parent in parents.items() if parent in pids} - pids:
        pids |= more
    for pid in pids - {os.getpid()}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
