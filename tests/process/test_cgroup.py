"""CPU and memory limits, on trees as real hosts and containers have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.process.cgroup import (
    BYTES_PER_MIB,
    Limits,
    compute_job_memory,
    compute_whole_cpus,
    read_limits,
    read_machine_memory,
)

V2 = "30 20 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1_CPU = "31 20 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEM = "32 20 0:28 {root} /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory\n"
HYBRID = "33 20 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
NO_V1_LIMIT = "9223372036854771712"


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


CASES = {
    "v2, own cgroup namespace": (
        {
            "proc/self/mountinfo": V2.format(root="/"),
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/memory.max": "314572800\n",
        },
        Limits(0.5, 300 * BYTES_PER_MIB),
    ),
    "v2, nested, a limit further out is tighter": (
        {
            "proc/self/mountinfo": V2.format(root="/"),
            "proc/self/cgroup": "0::/a/b/c\n",
            "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/a/b/memory.max": "1073741824\n",
            "sys/fs/cgroup/a/b/c/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/b/c/memory.max": "max\n",
        },
        Limits(1.5, 1024 * BYTES_PER_MIB),
    ),
    "v1, docker without a cgroup namespace: the mount shows our cgroup": (
        {
            "proc/self/mountinfo": V1_CPU.format(root="/docker/abc") + V1_MEM.format(root="/docker/abc"),
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n",
        },
        Limits(2.5, 512 * BYTES_PER_MIB),
    ),
    "v1 and an empty v2 beside it, nested, no CPU limit": (
        {
            "proc/self/mountinfo": V1_CPU.format(root="/") + V1_MEM.format(root="/") + HYBRID,
            "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/job/7\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_V1_LIMIT,
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "2147483648",
            "sys/fs/cgroup/memory/job/7/memory.limit_in_bytes": NO_V1_LIMIT,
        },
        Limits(None, 2048 * BYTES_PER_MIB),
    ),
    "no cgroups at all": ({}, Limits(None, None)),
    "nonsense": (
        {
            "proc/self/mountinfo": "garbage\n" + V2.format(root="/"),
            "proc/self/cgroup": "::\nx\n0::/../..\n",
            "sys/fs/cgroup/cpu.max": "many\n",
            "sys/fs/cgroup/memory.max": "-5\n",
        },
        Limits(None, None),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_tightest_limit_counts(tmp_path: Path, name: str) -> None:
    """v1 and v2, our own cgroup and those around it, mounted whole or bound into a container."""
    files, expected = CASES[name]
    assert read_limits(write_tree(tmp_path, files)) == expected


def test_this_machine_can_be_read() -> None:
    """The real tree raises nothing and makes sense."""
    found = read_limits()
    assert found.cpus is None or found.cpus > 0
    assert found.memory is None or found.memory > BYTES_PER_MIB
    assert read_machine_memory() > 64 * BYTES_PER_MIB


@given(st.none() | st.floats(min_value=0.001, max_value=1e5), st.integers(min_value=1, max_value=4096))
def test_cpus_are_whole_and_never_more_than_there_are(limit: float | None, usable: int) -> None:
    """At least one slot's worth, never above the limit unless that is below one, never above the affinity."""
    cpus = compute_whole_cpus(limit, usable)
    assert 1 <= cpus <= usable
    assert limit is None or cpus <= max(1.0, limit + 1e-6)


@pytest.mark.parametrize(("limit", "cpus"), [(0.5, 1), (1.0, 1), (1.99, 1), (2.9999999, 3), (8.0, 4), (None, 4)])
def test_fractions_are_rounded_down(limit: float | None, cpus: int) -> None:
    """Two jobs on 1.5 CPUs would throttle each other; a rounding error is no fraction."""
    assert compute_whole_cpus(limit, 4) == cpus


@given(
    st.none() | st.integers(min_value=1, max_value=1 << 50),
    st.integers(min_value=64 * BYTES_PER_MIB, max_value=1 << 45),
)
def test_jobs_get_less_memory_than_there_is(limit: int | None, machine: int) -> None:
    """The daemons live in the same limit: what jobs are promised leaves them room."""
    promised = compute_job_memory(limit, machine)
    whole = machine if limit is None else min(limit, machine)
    assert promised >= 1
    assert promised * BYTES_PER_MIB <= max(whole, BYTES_PER_MIB)
    assert whole < 8 * BYTES_PER_MIB or whole - promised * BYTES_PER_MIB >= min(128 * BYTES_PER_MIB, whole // 8)
