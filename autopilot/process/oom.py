"""Count the processes of this container that the kernel's out-of-memory killer has killed."""

from __future__ import annotations

from autopilot.process.cgroup_paths import UNIFIED, find_cgroup_path
from autopilot.process.pseudo_files import read_text

# (controller, mount point below the root, file) for v2 and v1 (kernel: admin-guide/cgroup-v2, cgroup-v1/memory)
COUNTER_FILES = ((UNIFIED, "", "memory.events"), ("memory", "memory/", "memory.oom_control"))


def count_oom_kills(cgroup_file: str = "/proc/self/cgroup", cgroup_root: str = "/sys/fs/cgroup/") -> int:
    """Return the kernel's count for our cgroup; 0 where it cannot be read.

    Inside a container the cgroup's own directory is mounted at the root, outside it is below: both are read.
    """
    cgroups = read_text(cgroup_file)
    for controller, mount, file in COUNTER_FILES:
        path = (find_cgroup_path(cgroups, [controller]) or "").lstrip("/")
        for directory in (f"{cgroup_root}{mount}{path}/", cgroup_root + mount):
            words = read_text(directory + file).split()
            if "oom_kill" in words:
                return int(words[words.index("oom_kill") + 1])
    return 0
