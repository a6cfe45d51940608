"""Read memory, CPU time and wake-ups of processes from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
QUIET_CPU_SHARE = 0.05  # share of one CPU; a supervisor that polls always uses some


@dataclass(frozen=True)
class Memory:
    """Memory in MiB: `private_mib` is mapped by nobody else (USS); `resident_mib` includes shared pages (RSS)."""

    private_mib: float
    resident_mib: float


def list_process_tree(root: int) -> list[int]:
    """Return `root` and the pids of all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:  # it has just ended
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    tree = [root]
    for pid in tree:  # grows during the loop
        tree += children.get(pid, [])
    return tree


def read_argv(pid: int) -> list[str]:
    """Return the command line of a process; empty for a zombie and for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def measure_memory(pids: Iterable[int]) -> Memory:
    """Return the total memory of the processes; shared pages count once in each process."""
    private = resident = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split()[:2]
            if name.startswith("Private_"):
                private += int(value)
            elif name == "Rss:":
                resident += int(value)
    return Memory(private / 1024, resident / 1024)


def sum_cpu_time(pids: Iterable[int]) -> float:
    """Return the seconds that the live threads of these processes have run, exact to the nanosecond."""
    return sum(int(stat.split()[0]) for stat in _read_thread_files(pids, "schedstat")) / 1e9


def read_cpu_time(pid: int) -> float:
    """Return the seconds that a process has run, its ended threads included, exact to a clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def count_wakeups(pids: Iterable[int]) -> int:
    """Return the number of times that threads of these processes went to sleep voluntarily, and so woke again."""
    statuses = _read_thread_files(pids, "status")
    return sum(int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for status in statuses)


def _read_thread_files(pids: Iterable[int], file: str) -> Iterator[str]:
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            try:
                yield thread.joinpath(file).read_text()
            except OSError:  # it has just ended
                continue


def wait_until_quiet(root: int, *, window: float = 0.2, timeout: float = 10.0) -> None:
    """Wait until the tree below `root` has been quiet for `window` seconds; at most `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        pids = list_process_tree(root)
        before = sum_cpu_time(pids)
        time.sleep(window)
        if list_process_tree(root) == pids and sum_cpu_time(pids) - before < QUIET_CPU_SHARE * window:
            return
