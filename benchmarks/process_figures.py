"""What the kernel says of a supervisor's processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

QUIET_CPU_SHARE = 0.05  # share of one CPU; who polls never uses none


@dataclass(frozen=True)
class Memory:
    """MiB. `private` is what nobody else has mapped (USS); `resident` counts shared pages, once in each process."""

    private_mib: float
    resident_mib: float


def list_process_tree(root: int) -> list[int]:
    """`root` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:  # gone meanwhile
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found = [root]
    for pid in found:  # grows as we go
        found += children.get(pid, [])
    return found


def read_argv(pid: int) -> list[str]:
    """Empty for a zombie and for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def measure_memory(pids: Iterable[int]) -> Memory:
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
    """Seconds that these processes have run; those that are gone count nothing."""
    return sum(int(stat.split()[0]) for stat in _read_thread_files(pids, "schedstat")) / 1e9


def count_wakeups(pids: Iterable[int]) -> int:
    """How often these processes have gone to sleep of their own will: each time, something woke them again."""
    statuses = _read_thread_files(pids, "status")
    return sum(int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for status in statuses)


def _read_thread_files(pids: Iterable[int], file: str) -> Iterator[str]:
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            try:
                yield thread.joinpath(file).read_text()
            except OSError:  # gone meanwhile
                continue


def wait_until_quiet(root: int, *, window: float = 0.2, timeout: float = 10.0) -> None:
    """Wait until the tree below `root` has been quiet for `window` seconds; at most `timeout`."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        pids = list_process_tree(root)
        before = sum_cpu_time(pids)
        time.sleep(window)
        if list_process_tree(root) == pids and sum_cpu_time(pids) - before < QUIET_CPU_SHARE * window:
            return
