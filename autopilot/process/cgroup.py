"""What this container may use, from its cgroup: v1, v2 or both, its own limits and those of every cgroup around it.

condor_startd looks at the machine, not at the container: with 0.5 CPUs and 300 MB it advertised 2 CPUs and 24 GB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNLIMITED_BYTES = 1 << 60  # cgroup v1 says "no limit" with 2**63 less one page
BYTES_PER_MIB = 1 << 20
MAX_DAEMON_RESERVE_BYTES = 128 * BYTES_PER_MIB  # for the daemons and us, but at most an eighth of a small container


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limits found; None: there is none."""

    cpus: float | None = None
    memory: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class _Mount:
    mount_point: str
    root: str  # which cgroup the mount point shows: "/" or, bind mounted into a container, deeper
    controllers: frozenset[str]  # v1; empty for v2


def read_limits(root: Path = Path("/")) -> Limits:
    """Read the tree below `root` (its proc/self and what mountinfo names). Unreadable files mean no limit."""
    mounts = list(_parse_mounts(_read_text(root / "proc/self/mountinfo")))
    own = _parse_own_cgroups(_read_text(root / "proc/self/cgroup"))
    cpus: list[float] = []
    memory: list[int] = []
    for mount in mounts:
        for level in _list_cgroup_directories(root, mount, own):
            if not mount.controllers:
                cpus.extend(_parse_cpu_limit_v2(_read_text(level / "cpu.max")))
                memory.extend(_parse_memory_limit(_read_text(level / "memory.max")))
            if "cpu" in mount.controllers:
                cpus.extend(
                    _parse_cpu_limit_v1(_read_text(level / "cpu.cfs_quota_us"), _read_text(level / "cpu.cfs_period_us"))
                )
            if "memory" in mount.controllers:
                memory.extend(_parse_memory_limit(_read_text(level / "memory.limit_in_bytes")))
    return Limits(min(cpus, default=None), min(memory, default=None))


def compute_whole_cpus(limit: float | None, usable_cpus: int) -> int:
    """NUM_CPUS: whole CPUs only, rounded down so that jobs are not throttled, but at least one. `usable`: by
    affinity."""
    return max(1, usable_cpus if limit is None else min(usable_cpus, math.floor(limit + 1e-6)))


def compute_job_memory(limit_bytes: int | None, machine_bytes: int) -> int:
    """MEMORY for jobs in MiB: the limit (or the machine) less what the daemons need, at least 1."""
    whole = machine_bytes if limit_bytes is None else min(limit_bytes, machine_bytes)
    return max(1, (whole - min(MAX_DAEMON_RESERVE_BYTES, whole // 8)) // BYTES_PER_MIB)


def read_machine_memory(root: Path = Path("/")) -> int:
    """MemTotal in bytes; 0 when it cannot be read."""
    for line in _read_text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _parse_mounts(mountinfo: str) -> Iterator[_Mount]:
    """proc(5): ... root, mount point, options, optional fields, "-", type, source, super options."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        before, after = left.split(), right.split()
        if len(before) < 5 or len(after) < 3:
            continue
        if after[0] == "cgroup2":
            yield _Mount(before[4], before[3], frozenset())
        elif after[0] == "cgroup":
            yield _Mount(before[4], before[3], frozenset(after[2].split(",")))


def _parse_own_cgroups(text: str) -> list[tuple[frozenset[str], str]]:
    """(controllers, path) of each line; no controllers: v2."""
    found = []
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            found.append((frozenset(parts[1].split(",")) - {""}, parts[2]))
    return found


def _list_cgroup_directories(root: Path, mount: _Mount, own: list[tuple[frozenset[str], str]]) -> Iterator[Path]:
    """Our cgroup and all around it, as far as the mount shows them. In a cgroup namespace the mount's root is ours."""
    path = next(
        (p for controllers, p in own if controllers & mount.controllers or not controllers | mount.controllers), "/"
    )
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
