"""What this container may use, from its cgroup: v1, v2 or both, its own limits and those of every cgroup around it.

condor_startd looks at the machine, not at the container: with 0.5 CPUs and 300 MB it advertised 2 CPUs and 24 GB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with 2**63 less one page
MIB = 1 << 20
RESERVE = 128 * MIB  # for the daemons and us, but at most an eighth of a small container


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limits found; None: there is none."""

    cpus: float | None = None
    memory: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class _Mount:
    point: str
    root: str  # which cgroup the mount point shows: "/" or, bind mounted into a container, deeper
    controllers: frozenset[str]  # v1; empty for v2


def limits(root: Path = Path("/")) -> Limits:
    """Read the tree below `root` (its proc/self and what mountinfo names). Unreadable files mean no limit."""
    mounts = list(_mounts(_text(root / "proc/self/mountinfo")))
    own = _own_cgroups(_text(root / "proc/self/cgroup"))
    cpus: list[float] = []
    memory: list[int] = []
    for mount in mounts:
        for level in _levels(root, mount, own):
            if not mount.controllers:
                cpus.extend(_cpu_v2(_text(level / "cpu.max")))
                memory.extend(_bytes(_text(level / "memory.max")))
            if "cpu" in mount.controllers:
                cpus.extend(_cpu_v1(_text(level / "cpu.cfs_quota_us"), _text(level / "cpu.cfs_period_us")))
            if "memory" in mount.controllers:
                memory.extend(_bytes(_text(level / "memory.limit_in_bytes")))
    return Limits(min(cpus, default=None), min(memory, default=None))


def whole_cpus(limit: float | None, usable: int) -> int:
    """NUM_CPUS: whole CPUs only, rounded down so that jobs are not throttled, but at least one. `usable`: by
    affinity."""
    return max(1, usable if limit is None else min(usable, math.floor(limit + 1e-6)))


def job_memory(limit: int | None, machine: int) -> int:
    """MEMORY for jobs in MiB: the limit (or the machine) less what the daemons need, at least 1."""
    whole = machine if limit is None else min(limit, machine)
    return max(1, (whole - min(RESERVE, whole // 8)) // MIB)


def machine_memory(root: Path = Path("/")) -> int:
    """MemTotal in bytes; 0 when it cannot be read."""
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _mounts(mountinfo: str) -> Iterator[_Mount]:
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


def _own_cgroups(text: str) -> list[tuple[frozenset[str], str]]:
    """(controllers, path) of each line; no controllers: v2."""
    found = []
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            found.append((frozenset(parts[1].split(",")) - {""}, parts[2]))
    return found


def _levels(root: Path, mount: _Mount, own: list[tuple[frozenset[str], str]]) -> Iterator[Path]:
    """Our cgroup and all around it, as far as the mount shows them. In a cgroup namespace the mount's root is ours."""
    path = next(
        (p for controllers, p in own if controllers & mount.controllers or not controllers | mount.controllers), "/"
    )
    base = mount.root.rstrip("/")
    inside = path[len(base) :] if path == base or path.startswith(base + "/") else ""
    parts = [part for part in inside.split("/") if part and part != ".."]
    top = root / mount.point.lstrip("/")
    yield top
    for depth in range(len(parts)):
        yield top.joinpath(*parts[: depth + 1])


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _cpu_v2(text: str) -> Iterator[float]:
    words = text.split()
    if len(words) == 2 and (quota := _number(words[0])) and (period := _number(words[1])):
        yield quota / period


def _cpu_v1(quota_text: str, period_text: str) -> Iterator[float]:
    quota, period = _number(quota_text), _number(period_text)
    if quota is not None and quota > 0 and period:
        yield quota / period


def _bytes(text: str) -> Iterator[int]:
    if (value := _number(text)) is not None and 0 < value < UNLIMITED:
        yield value
