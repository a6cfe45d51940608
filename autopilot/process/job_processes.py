"""Find the processes of a job: its leader, and every descendant, wherever it went.

The kernel gives each orphan to us (PID 1, or a subreaper), so all that a job starts is found from two places: below its
leader, and among our own children. An orphan is the job's when it carries the job's mark. The mark must outlive setsid,
a double fork, another user and an emptied environment, and we must be able to read it without the right to trace others
(Docker gives a container's root no CAP_SYS_PTRACE): it is the soft limit RLIMIT_LOCKS, which Linux has inherited and
ignored since 2.4.25 (getrlimit(2)). A process can change its own mark: where cgroups can be written, a job of another
user also has one of its own (`job_cgroups`), and that decides.

Linux's `/proc/PID/task/TID/children` makes a look cheap; no poll anywhere.
"""

from __future__ import annotations

import os
from itertools import islice

from autopilot.process.process_stat import read_process_stat, read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

RLIMIT_LOCKS = 10
FIRST_MARK = 1 << 40  # no limit that anybody would set
NO_PIDS: set[int] = set()
MAX_DESCRIBED = 50  # processes in one line of the log: a job may leave thousands behind


def list_children(pid: int) -> list[int]:
    """Return the children of all threads of `pid`, zombies included; empty when there is no such process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass
    return found


def walk_descendants(pid: int) -> Iterator[int]:
    """Yield every process below `pid`, parents before children."""
    todo = list_children(pid)
    while todo:
        child = todo.pop()
        yield child
        todo.extend(list_children(child))


def is_alive(pid: int) -> bool:
    """Return True while any thread of the process runs: one whose first thread has ended lives while another does."""
    if read_process_stat(pid) is not None:
        return True
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return len(threads) > 1 and any(read_stat(f"/proc/{pid}/task/{thread}") is not None for thread in threads)


def read_name(pid: int) -> str:
    """Return the kernel's name of a process, at most 15 bytes, any of which it may set; `?` when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().decode(errors="replace").strip()
    except OSError:
        return "?"


def describe_processes(pids: Collection[int]) -> list[str]:
    """Return `name (pid)` of the processes, of MAX_DESCRIBED at most, and the number of the others."""
    described = [f"{read_name(pid)} ({pid})" for pid in islice(pids, MAX_DESCRIBED)]
    return described if len(pids) <= MAX_DESCRIBED else [*described, f"and {len(pids) - MAX_DESCRIBED} more"]


def read_mark(pid: int) -> int | None:
    """Return the soft limit that marks a job's processes; None without one."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            for line in file:
                if line.startswith(b"Max file locks"):
                    soft = line.split()[3]
                    return int(soft) if soft.isdigit() else None
    except OSError:
        pass
    return None


def find_members(
    leader: int | None,
    mark: int,
    known_members: set[int],
    leaders: set[int],
    *,
    in_own_cgroup: set[int] | None = None,
    in_other_cgroups: set[int] = NO_PIDS,
) -> set[int]:
    """Return every live process of a job but its leader.

    Args:
        leader: The leader's pid; None once it was reaped, because another process may have its pid then.
        mark: The soft limit that marks the job's processes.
        known_members: Members that were found earlier.
        leaders: The leaders of all jobs, which are no orphans.
        in_own_cgroup: The processes in the job's cgroup, in which all of its processes are; None without one: the
            mark alone tells.
        in_other_cgroups: The processes in the cgroups of other jobs, whatever mark they wear.
    """
    found = set(walk_descendants(leader)) if leader is not None else set()
    for orphan in list_children(os.getpid()):
        if orphan in leaders or orphan in in_other_cgroups:
            continue
        has_our_mark = (in_own_cgroup is None or orphan in in_own_cgroup) and read_mark(orphan) == mark
        if orphan in known_members or has_our_mark:
            found.add(orphan)
            found.update(walk_descendants(orphan))
    found |= in_own_cgroup or NO_PIDS
    return {pid for pid in found if pid not in leaders and is_alive(pid)}


def find_strays(leaders: set[int]) -> set[int]:
    """Return every live process below us that is not a leader, of any job."""
    return {pid for pid in walk_descendants(os.getpid()) if pid not in leaders and is_alive(pid)}
