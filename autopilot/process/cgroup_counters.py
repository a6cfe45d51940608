"""Read the counters that the kernel keeps for this container's cgroup, v1 or v2.

Inside a container the cgroup's own directory is mounted at the root, outside it is below: both are looked at. The files
are those of the kernel's admin-guide/cgroup-v2 and cgroup-v1.
"""

from __future__ import annotations

from autopilot.process.cgroup_paths import UNIFIED, find_cgroup_path
from autopilot.process.pseudo_files import read_text

CGROUP_FILE, CGROUP_ROOT = "/proc/self/cgroup", "/sys/fs/cgroup/"
# controller, mount point below the root, file, key in the file ("" for a file with one number)
CounterFile = tuple[str, str, str, str]
OOM_KILLS: tuple[CounterFile, ...] = (
    (UNIFIED, "", "memory.events", "oom_kill"),
    ("memory", "memory/", "memory.oom_control", "oom_kill"),
)
THROTTLED_MICROSECONDS: tuple[CounterFile, ...] = ((UNIFIED, "", "cpu.stat", "throttled_usec"),)
THROTTLED_NANOSECONDS: tuple[CounterFile, ...] = (
    ("cpu", "cpu/", "cpu.stat", "throttled_time"),
    ("cpu", "cpu,cpuacct/", "cpu.stat", "throttled_time"),
)
MEMORY_BYTES: tuple[CounterFile, ...] = (
    (UNIFIED, "", "memory.current", ""),
    ("memory", "memory/", "memory.usage_in_bytes", ""),
)


def read_counter(
    files: tuple[CounterFile, ...], cgroup_file: str = CGROUP_FILE, cgroup_root: str = CGROUP_ROOT
) -> int | None:
    """Return the first counter that can be read; None without any."""
    cgroups = read_text(cgroup_file)
    for controller, mount, file, key in files:
        path = (find_cgroup_path(cgroups, [controller]) or "").lstrip("/")
        for directory in (f"{cgroup_root}{mount}{path}/", cgroup_root + mount):
            words = read_text(directory + file).split()
            position = words.index(key) + 1 if key in words else 0 if not key else len(words)
            if position < len(words) and words[position].isdecimal():
                return int(words[position])
    return None


def count_oom_kills(cgroup_file: str = CGROUP_FILE, cgroup_root: str = CGROUP_ROOT) -> int:
    """Return the number of processes that the kernel's out-of-memory killer has killed; 0 where it cannot be read."""
    return read_counter(OOM_KILLS, cgroup_file, cgroup_root) or 0


def read_throttled_seconds(cgroup_file: str = CGROUP_FILE, cgroup_root: str = CGROUP_ROOT) -> float | None:
    """Return the time for which the CPU quota has held this container back; None where it cannot be read."""
    for files, units_per_second in ((THROTTLED_MICROSECONDS, 1e6), (THROTTLED_NANOSECONDS, 1e9)):
        if (counter := read_counter(files, cgroup_file, cgroup_root)) is not None:
            return counter / units_per_second
    return None
