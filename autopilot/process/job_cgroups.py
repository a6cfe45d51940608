"""Give a job a cgroup of its own, where cgroup v2 can be written: no process without root's rights leaves it.

A job's mark (`job_processes`) is found everywhere, but a process can change its own, or wear that of another job. So a
job that runs as a user other than root also gets a cgroup. It has no controllers: limits and counters of the container
stay as they are. Joining one takes the kernel up to some 20 ms, and the child waits for that, not the supervisor.
"""

from __future__ import annotations

import os

from autopilot.process.cgroup_paths import UNIFIED, find_cgroup_path
from autopilot.process.pseudo_files import read_text

PREFIX = "autopilot-job-"


class JobCgroup:
    """The cgroup of one run.

    Attributes:
        path: Its directory.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def join(self) -> None:
        """Move this process into the cgroup; raise OSError when the kernel refuses it."""
        descriptor = os.open(f"{self.path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)

    def list_pids(self) -> set[int]:
        """Return the processes in the cgroup, without zombies; empty when it is gone."""
        try:
            with open(f"{self.path}/cgroup.procs", "rb") as file:
                return set(map(int, file.read().split()))
        except OSError:
            return set()

    def kill(self) -> None:
        """Send SIGKILL to all of its processes at once, where the kernel (5.14) can: none can fork away from it."""
        try:
            descriptor = os.open(f"{self.path}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            os.write(descriptor, b"1")
        except OSError:
            pass
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove the cgroup; it stays while a process is in it."""
        try:  # noqa: SIM105 - contextlib would have to be loaded before the first job
            os.rmdir(self.path)
        except OSError:
            pass


def create_job_cgroup(number: int, base: str | None = None) -> JobCgroup | None:
    """Return a new cgroup below our own; None where cgroup v2 is not mounted, or not writable.

    Args:
        number: The number of the run in this life.
        base: The directory of our own cgroup; None: found out.
    """
    base = base if base is not None else find_own_directory(read_text("/proc/self/mountinfo"))
    if base is None:
        return None
    path = f"{base}/{PREFIX}{os.getpid()}-{number}"
    cgroup = JobCgroup(path)
    cgroup.remove()  # of an earlier process with our pid
    try:
        os.mkdir(path, 0o755)
    except OSError:
        return None
    if read_text(f"{path}/cgroup.type").strip() == "domain":  # else it cannot be joined, or is no cgroup at all
        return cgroup
    cgroup.remove()
    return None


def find_own_directory(mountinfo: str, own_cgroups: str | None = None) -> str | None:
    """Return the directory of our own cgroup in the unified hierarchy; None without one that we can write.

    Args:
        mountinfo: The text of /proc/self/mountinfo.
        own_cgroups: The text of /proc/self/cgroup; None: read.
    """
    path = find_cgroup_path(read_text("/proc/self/cgroup") if own_cgroups is None else own_cgroups, [UNIFIED])
    if path is None or ".." in path.split("/"):
        return None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or right.split()[:1] != ["cgroup2"]:
            continue
        root, mount_point = fields[3].rstrip("/"), fields[4]
        if path != root and not path.startswith(f"{root}/"):
            continue
        directory = f"{mount_point}{path[len(root) :]}".rstrip("/")
        if os.access(directory, os.W_OK | os.X_OK):
            return directory
    return None
