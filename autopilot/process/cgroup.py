"""Read the limits of this container from cgroups: v1, v2 or both, its own and those of every cgroup around it.

condor_startd looks at the machine, not at the container: with 0.5 CPUs and 300 MB it advertised 2 CPUs and 24 GB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autopilot.process.cgroup_paths import UNIFIED, find_cgroup_path
from autopilot.process.pseudo_files import read_text

UNLIMITED_BYTES = 1 << 60  # cgroup v1 says "no limit" with 2**63 less one page
BYTES_PER_MIB = 1 << 20
MAX_DAEMON_RESERVE_BYTES = 128 * BYTES_PER_MIB  # for the daemons and us, but at most an eighth of a small container


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limits of a container; None means no limit."""

    cpus: float | None = None
    memory: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class _Mount:
    mount_point: str
    root: str  # the cgroup that the mount point shows: "/" or, bind mounted into a container, deeper
    controllers: frozenset[str]  # v1; empty for v2


def read_limits(root: Path = Path("/")) -> Limits:
    """Return the limits of our cgroup.

    Args:
        root: The directory that holds `proc`, and the mount points that `proc/self/mountinfo` names.

    Returns:
        The tightest limits; an unreadable file means no limit.
    """
    mounts = list(_parse_mounts(read_text(root / "proc/self/mountinfo")))
    own_cgroups = read_text(root / "proc/self/cgroup")
    cpus: list[float] = []
    memory: list[int] = []
    for mount in mounts:
        for level in _list_cgroup_directories(root, mount, own_cgroups):
            if not mount.controllers:
                cpus.extend(_parse_cpu_limit_v2(read_text(level / "cpu.max")))
                memory.extend(_parse_memory_limit(read_text(level / "memory.max")))
            if "cpu" in mount.controllers:
                cpus.extend(
                    _parse_cpu_limit_v1(read_text(level / "cpu.cfs_quota_us"), read_text(level / "cpu.cfs_period_us"))
                )
            if "memory" in mount.controllers:
                memory.extend(_parse_memory_limit(read_text(level / "memory.limit_in_bytes")))
    return Limits(min(cpus, default=None), min(memory, default=None))


def compute_whole_cpus(limit: float | None, usable_cpus: int) -> int:
    """Return NUM_CPUS: whole CPUs, rounded down so that jobs are not throttled, at least one.

    Args:
        limit: CPUs by cgroup; None without a limit.
        usable_cpus: CPUs by affinity.
    """
    return max(1, usable_cpus if limit is None else min(usable_cpus, math.floor(limit + 1e-6)))


def compute_job_memory(limit_bytes: int | None, machine_bytes: int) -> int:
    """Return MEMORY for jobs in MiB: the limit, or the machine's memory, less the daemons' share; at least 1."""
    whole = machine_bytes if limit_bytes is None else min(limit_bytes, machine_bytes)
    return max(1, (whole - min(MAX_DAEMON_RESERVE_BYTES, whole // 8)) // BYTES_PER_MIB)


def read_machine_memory(root: Path = Path("/")) -> int:
    """Return MemTotal in bytes; 0 when it cannot be read."""
    for line in read_text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _parse_mounts(mountinfo: str) -> Iterator[_Mount]:
    """Yield the cgroup mounts (proc(5): ... root, mount point, options, optional fields, "-", type, source, ...)."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        before, after = left.split(), right.split()
        if len(before) < 5 or len(after) < 3:
            continue
        if after[0] == "cgroup2":
            yield _Mount(before[4], before[3], frozenset())
        elif after[0] == "cgroup":
            yield _Mount(before[4], before[3], frozenset(after[2].split(",")))


def _list_cgroup_directories(root: Path, mount: _Mount, own_cgroups: str) -> Iterator[Path]:
    """Yield the directories of our cgroup and of those around it, as far as the mount shows them.

    In a cgroup namespace the mount's root is ours.
    """
    path = find_cgroup_path(own_cgroups, sorted(mount.controllers) or [UNIFIED]) or "/"
    base = mount.root.rstrip("/")
    inside = path[len(base) :] if path == base or path.startswith(base + "/") else ""
    parts = [part for part in inside.split("/") if part and part != ".."]
    top = root / mount.mount_point.lstrip("/")
    yield top
    for depth in range(len(parts)):
        yield top.joinpath(*parts[: depth + 1])


def _parse_number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _parse_cpu_limit_v2(text: str) -> Iterator[float]:
    words = text.split()
    if len(words) == 2 and (quota := _parse_number(words[0])) and (period := _parse_number(words[1])):
        yield quota / period


def _parse_cpu_limit_v1(quota_text: str, period_text: str) -> Iterator[float]:
    quota, period = _parse_number(quota_text), _parse_number(period_text)
    if quota is not None and quota > 0 and period:
        yield quota / period


def _parse_memory_limit(text: str) -> Iterator[int]:
    if (value := _parse_number(text)) is not None and 0 < value < UNLIMITED_BYTES:
        yield value
