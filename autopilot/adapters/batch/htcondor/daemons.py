"""Find HTCondor's processes in /proc and their payloads in EXECUTE: no command, no query, well under a millisecond.

A payload cannot pass for a daemon: daemons are found by descent from condor_master, or from us, once their parent died.
Every orphan comes to us, a payload's too, and may call itself anything. So beside a live condor_master an orphan counts
only if its real uid is one of the master's: root, or condor, for which it acts. A payload is one only while the starter
its directory is named after lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.batch.htcondor import startd_guard
from autopilot.adapters.batch.htcondor.classads import get_payload_id, parse_ad
from autopilot.process import job_processes, process_stat
from autopilot.safe_files import read_file

MAX_AD_BYTES = 1 << 20  # of one job ad
MAX_WRAPPER_DEPTH = 4  # processes from the leader to condor_master
NAMELESS_PREFIX = "starter-"
SHARED_PORT_NAME = "condor_shared_port"[:15]  # the kernel keeps 15 characters of a process's name


@dataclass(frozen=True, slots=True)
class Daemons:
    """The pids of HTCondor's processes at one moment. Zombies are left out."""

    master: int | None = None
    startd: int | None = None
    starters: tuple[int, ...] = ()
    stopped: frozenset[int] = frozenset()  # those in state T: somebody sent SIGSTOP
    shared_port: int | None = None  # takes the connections to all daemons
    procd: int | None = None  # follows the processes of each job: without it no job can be ended
    guard: int | None = None  # stands between condor_master and the startd


ListChildren = Callable[[int], Iterable[int]]
ReadProcessStat = Callable[[int], tuple[str, str] | None]  # as process_stat.read_process_stat


def find_daemons(
    leader_pid: int | None,
    own_pid: int,
    list_children: ListChildren = job_processes.list_children,
    read_stat: ReadProcessStat = process_stat.read_process_stat,
    read_uids: Callable[[int], tuple[int, int] | None] = process_stat.read_uids,
) -> Daemons:
    """Find the daemons by descent; the processes below a starter are not visited, for payloads may be many.

    Args:
        leader_pid: The job's process, condor_master itself or a wrapper around it; None once it is gone.
        own_pid: Our pid: the new parent of daemons that lost theirs.
        list_children: Returns the children of a pid.
        read_stat: Returns (name, state) of a live pid.
        read_uids: Returns the real and the effective uid of a pid.
    """
    master = None if leader_pid is None else _find_master(leader_pid, list_children, read_stat)
    states: dict[int, str] = {}

    orphans: frozenset[int] = frozenset(list_children(own_pid)) if master is not None else frozenset()

    def is_foreign_orphan(pid: int) -> bool:
        if master is None or pid not in orphans:
            return False
        masters, found = read_uids(master), read_uids(pid)
        return masters is not None and found is not None and found[0] not in masters

    def find_named(name: str, parents: Iterable[int]) -> list[int]:
        matching = []
        for pid in (child for parent in parents for child in list_children(parent)):
            stat = read_stat(pid)
            if stat is not None and stat[0] == name and not is_foreign_orphan(pid):
                states[pid] = stat[1]
                matching.append(pid)
        return matching

    if master is not None and (stat := read_stat(master)) is not None:
        states[master] = stat[1]
    masters = {master} if master is not None else set()
    guards = find_named(startd_guard.NAME, {own_pid, *masters})
    startds = find_named("condor_startd", {own_pid, *masters, *guards})
    starters = find_named("condor_starter", {own_pid, *startds})
    shared_port, procd = (max(find_named(name, masters), default=None) for name in (SHARED_PORT_NAME, "condor_procd"))
    stopped = frozenset(pid for pid, state in states.items() if state == process_stat.STOPPED_STATE)
    startd, guard = max(startds, default=None), max(guards, default=None)
    return Daemons(master, startd, tuple(sorted(starters)), stopped, shared_port, procd, guard)


def _find_master(leader_pid: int, list_children: ListChildren, read_stat: ReadProcessStat) -> int | None:
    """Return the leader's pid, or that of the condor_master that a wrapper (a shell, `su`, `nice`) has started."""
    todo = [leader_pid]
    for _ in range(MAX_WRAPPER_DEPTH):
        for pid in todo:
            if (stat := read_stat(pid)) is not None and stat[0] == "condor_master":
                return pid
        todo = [child for pid in todo for child in list_children(pid)]
    return None


def find_payloads(
    execute_directory: Path, starters: Iterable[int], known_names: Mapping[int, str], nameless_starters: frozenset[int]
) -> tuple[dict[int, str], frozenset[int]]:
    """Find the payloads in EXECUTE/dir_PID/.job.ad. An ad is read once.

    Args:
        execute_directory: HTCondor's EXECUTE.
        starters: The pids of the starters.
        known_names: The names of the last call.
        nameless_starters: The nameless starters of the last call. A starter without a readable ad counts as a payload
            from its second call on: at first it may only be starting.

    Returns:
        The id of each starter's job, and the starters without a readable ad.
    """
    names: dict[int, str] = {}
    unknown = set()
    for starter in starters:
        name = known_names.get(starter) if starter not in nameless_starters else None
        if (name := name or read_payload_id(execute_directory, starter)) is None:
            if _has_no_job(starter):
                continue
            unknown.add(starter)
            name = f"{NAMELESS_PREFIX}{starter}" if starter in nameless_starters else None
        if name is not None:
            names[starter] = name
    return names, frozenset(unknown)


def read_payload_id(execute_directory: Path, starter: int) -> str | None:
    """Return the id in the job ad; None when there is none. The job may have replaced the file by anything."""
    try:
        data = read_file(execute_directory / f"dir_{starter}" / ".job.ad", MAX_AD_BYTES)
    except OSError:
        return None
    return get_payload_id(parse_ad(data.decode(errors="replace").split("\n")))


def _has_no_job(starter: int) -> bool:
    """Return True for the `condor_starter -classad` that the startd runs to learn its abilities."""
    try:
        with open(f"/proc/{starter}/cmdline", "rb") as file:
            return b"-classad" in file.read(4096).split(b"\0")
    except OSError:
        return False
