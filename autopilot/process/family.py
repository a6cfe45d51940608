"""What belongs to a job: its leader, the leader's group and session, and every descendant that left them.

The kernel gives each orphan to us (PID 1, or a subreaper), so whatever a job starts is found from two places: below
its leader, and among our own children. An orphan is the job's when it is in the job's session, was seen in it
before, or carries the job's marker in its environment. Linux's `/proc/PID/task/TID/children` makes a look cheap; no
poll anywhere.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = "AUTOPILOT_RUN"  # in every child's environment: "JOB.RUN"


def children(pid: int) -> list[int]:
    """The live and the dead-but-unreaped children of `pid`, of all its threads; empty when there is no such process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass
    return found


def descendants(pid: int) -> Iterator[int]:
    """Everything below `pid`, parents before children."""
    todo = children(pid)
    while todo:
        child = todo.pop()
        yield child
        todo.extend(children(child))


def alive(pid: int) -> bool:
    """The process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


def name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "?"


def session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def marked(pid: int, mark: str) -> bool:
    """Its environment, as it was at its exec, carries the mark."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARKER}={mark}".encode() in file.read().split(b"\0")
    except OSError:
        return False


def members(leader: int, mark: str, known: set[int], leaders: set[int]) -> set[int]:
    """Every live process of the job but its leader.

    `known`: members seen earlier; `leaders`: the leaders of all jobs, which are no orphans.
    """
    found = set(descendants(leader))
    for orphan in children(os.getpid()):
        if orphan not in leaders and (orphan in known or session(orphan) == leader or marked(orphan, mark)):
            found.add(orphan)
            found.update(descendants(orphan))
    return {pid for pid in found if pid not in leaders and alive(pid)}


def strays(leaders: set[int]) -> set[int]:
    """Every live process below us that is not a leader, whomever it belongs to."""
    return {pid for pid in descendants(os.getpid()) if pid not in leaders and alive(pid)}
