"""Parse /proc/self/cgroup (cgroups(7)). Light: wanted before the first job starts."""

from __future__ import annotations

UNIFIED = ""  # stands for the unified hierarchy (v2), which names no controllers


def parse_cgroup_paths(text: str) -> list[tuple[list[str], str]]:
    """Return (controllers, path) for each line `4:cpu,cpuacct:/docker/ID`; `0::/` has the controller UNIFIED."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    return [(parts[1].split(","), parts[2]) for parts in lines if len(parts) == 3]


def find_cgroup_path(text: str, controllers: list[str]) -> str | None:
    """Return the path of the first hierarchy that has one of these controllers; None where there is none."""
    for names, path in parse_cgroup_paths(text):
        if any(name in names for name in controllers):
            return path
    return None
