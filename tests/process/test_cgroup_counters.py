"""Counters of the kernel: read from cgroup v2 and v1, inside a container and outside."""

from __future__ import annotations

import pytest

from autopilot.process import cgroup_counters

V1 = "12:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/\n"
V2 = "0::/system.slice/docker-a.scope\n"


@pytest.mark.parametrize(
    ("own", "file", "text", "count"),
    [
        (V2, "memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\n", 3),
        (V2, "system.slice/docker-a.scope/memory.events", "oom 1\noom_kill 1\n", 1),
        (V1, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        (V1, "memory/docker/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),
        (V1, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0),
        (V2, "elsewhere", "", 0),
    ],
)
def test_kills(tmp_path, own, file, text, count):
    """The kernel's own counter, wherever the cgroup is mounted; nothing to read means none."""
    assert cgroup_counters.count_oom_kills(*write_cgroup(tmp_path, own, file, text)) == count


@pytest.mark.parametrize(
    ("own", "file", "text", "seconds"),
    [
        (V2, "cpu.stat", "usage_usec 9\nnr_throttled 2\nthrottled_usec 1500000\n", 1.5),
        (V1, "cpu,cpuacct/docker/a/cpu.stat", "nr_periods 0\nnr_throttled 1\nthrottled_time 250000000\n", 0.25),
        (V1, "cpu/cpu.stat", "nr_periods 0\nthrottled_time 0\n", 0.0),
        (V2, "cpu.stat", "throttled_usec", None),
        (V2, "cpu.stat", "throttled_usec -1", None),
        (V2, "elsewhere", "", None),
    ],
)
def test_throttling(tmp_path, own, file, text, seconds):
    """The time that the CPU quota has cost, in seconds from either unit; None where nothing tells."""
    assert cgroup_counters.read_throttled_seconds(*write_cgroup(tmp_path, own, file, text)) == seconds


@pytest.mark.parametrize(("own", "file"), [(V2, "memory.current"), (V1, "memory/memory.usage_in_bytes")])
def test_memory(tmp_path, own, file):
    """A file with one number is a counter without a key."""
    places = write_cgroup(tmp_path, own, file, "4096\n")
    assert cgroup_counters.read_counter(cgroup_counters.MEMORY_BYTES, *places) == 4096


def write_cgroup(folder, own, file, text):
    """Write the file of a cgroup, and return the paths to read it by."""
    proc, root = folder / "cgroup", folder / "sys"
    proc.write_text(own)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)
    return str(proc), f"{root}/"
