"""Out of memory: read from cgroup v2 and v1, inside a container and outside."""

from __future__ import annotations

import pytest

from autopilot.process import oom

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
    proc, root = tmp_path / "cgroup", tmp_path / "sys"
    proc.write_text(own)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)
    assert oom.count_oom_kills(str(proc), f"{root}/") == count
