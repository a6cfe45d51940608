"""What belongs to a job: its leader, and every descendant, wherever it went.

The kernel gives each orphan to us (PID 1, or a subreaper), so whatever a job starts is found from two places: below its
leader, and among our own children. An orphan is the job's when it carries the job's mark. The mark must outlive setsid,
a double fork, another user and an emptied environment, and we must be able to read it without the right to trace others
(Docker gives a container's root no CAP_SYS_PTRACE): it is the soft limit RLIMIT_LOCKS, which Linux has inherited and
ignored since 2.4.25 (getrlimit(2)). Linux's `/proc/PID/task/TID/children` makes a look cheap; no poll anywhere.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RLIMIT_LOCKS = 10
FIRST_MARK = 1 << 40  # no limit that anybody would set


def list_children(pid: int) -> list[int]:
    """The live and the dead-but-unreaped children of `pid`, of all its threads; empty when there is no such process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass
    return found


def walk_descendants(pid: int) -> Iterator[int]:
    """Everything below `pid`, parents before children."""
    todo = list_children(pid)
    while todo:
        child = todo.pop()
        yield child
        todo.extend(list_children(child))


def is_alive(pid: int) -> bool:
    """The process exists and is no zombie. One whose first thread has ended lives while another does."""
    if _read_state(f"/proc/{pid}") not in (b"Z", b"X", b""):
        return True
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return len(threads) > 1 and any(_read_state(f"/proc/{pid}/task/{t}") not in (b"Z", b"X", b"") for t in threads)


def _read_state(path: str) -> bytes:
    try:
        with open(f"{path}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0]
    except OSError:
        return b""


def read_name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "?"


def read_mark(pid: int) -> int | None:
    """The soft limit that marks a job's processes; None where there is none."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            for line in file:
                if line.startswith(b"Max file locks"):
                    soft = line.split()[3]
                    return int(soft) if soft.isdigit() else None
    except OSError:
        pass
    return None


def find_members(leader: int | None, mark: int, known_members: set[int], leaders: set[int]) -> set[int]:
    """Every live process of the job but its leader.

    `leader` is None once it was reaped: its pid may be another's then. `known`: members seen earlier; `leaders`: the
    leaders of all jobs, which are no orphans.
    """
    found = set(walk_descendants(leader)) if leader is not None else set()
    for orphan in list_children(os.getpid()):
        if orphan not in leaders and (orphan in known_members or read_mark(orphan) == mark):
            found.add(orphan)
            found.update(walk_descendants(orphan))
    return {pid for pid in found if pid not in leaders and is_alive(pid)}


def find_strays(leaders: set[int]) -> set[int]:
    """Every live process below us that is not a leader, whomever it belongs to."""
    return {pid for pid in walk_descendants(os.getpid()) if pid not in leaders and is_alive(pid)}
