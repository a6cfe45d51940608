"""Whether the kernel's out-of-memory killer has been at work in our container."""

from __future__ import annotations

# cgroup v2 "memory.events", v1 "memory.oom_control" (kernel: admin-guide/cgroup-v2, cgroup-v1/memory)
COUNTER_FILES = (("0", "", "memory.events"), ("memory", "memory/", "memory.oom_control"))


def count_oom_kills(cgroup_file: str = "/proc/self/cgroup", cgroup_root: str = "/sys/fs/cgroup/") -> int:
    """How often it has killed a process of our cgroup; 0 where that cannot be read.

    Inside a container the cgroup's own directory is mounted at the root, outside it is below: both are looked at.
    """
    own = _read(cgroup_file)
    for name, mount, file in COUNTER_FILES:
        for folder in (f"{cgroup_root}{mount}{_find_own_path(own, name)}/", cgroup_root + mount):
            words = _read(folder + file).split()
            if "oom_kill" in words:
                return int(words[words.index("oom_kill") + 1])
    return 0


def _find_own_path(text: str, name: str) -> str:
    """Of a controller, or of the unified hierarchy ("0"): `4:memory:/docker/ID`, `0::/`."""
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if name in (number, *controllers.split(",")):
            return path.lstrip("/")
    return ""


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
