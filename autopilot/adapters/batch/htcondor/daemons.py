"""HTCondor's processes and their payloads, read from /proc and EXECUTE: no command, no query, well under a
millisecond.

A payload cannot pass for a daemon: daemons are found by descent from condor_master (or from us, once their parent
died), and a payload is one only while the starter its directory is named after lives.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.batch.htcondor.classads import get_payload_id, parse_ad
from autopilot.process import job_processes

MAX_AD_BYTES = 1 << 20  # bytes read of one job ad
MAX_WRAPPER_DEPTH = 4  # processes deep, from the leader to condor_master
NAMELESS_PREFIX = "starter-"


@dataclass(frozen=True, slots=True)
class ProcessStat:
    name: str  # comm: 15 characters at most
    state: str  # R, S, D, T (stopped), Z, ...


@dataclass(frozen=True, slots=True)
class Daemons:
    """One look at HTCondor's processes. Zombies are left out."""

    master: int | None = None
    startd: int | None = None
    starters: tuple[int, ...] = ()
    stopped: frozenset[int] = frozenset()  # those in state T: somebody sent SIGSTOP


ListChildren = Callable[[int], Iterable[int]]
ReadProcessStat = Callable[[int], ProcessStat | None]


def parse_stat(text: str) -> ProcessStat | None:
    """One /proc/PID/stat; None for what is none. The name stands in parentheses and may hold any byte, `)` too."""
    head, _, rest = text.rpartition(")")
    _, found, name = head.partition(" (")
    words = rest.split()
    return ProcessStat(name, words[0]) if found and words else None


def read_process_stat(pid: int) -> ProcessStat | None:
    """None when there is no such process, or only its zombie."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            found = parse_stat(file.read(4096))
    except OSError:
        return None
    return None if found is None or found.state in "ZX" else found


def find_daemons(
    leader_pid: int | None,
    own_pid: int,
    list_children: ListChildren = job_processes.list_children,
    read_stat: ReadProcessStat = read_process_stat,
) -> Daemons:
    """`leader`: the job's process, condor_master itself or a wrapper around it; None once it is gone. `own`: our pid,
    the new parent of daemons that lost theirs. Looks at the daemons only, never below a starter: payloads may be
    many."""
    master = None if leader_pid is None else _find_master(leader_pid, list_children, read_stat)
    states: dict[int, str] = {}

    def find_named(name: str, parents: Iterable[int]) -> list[int]:
        found = []
        for pid in (child for parent in parents for child in list_children(parent)):
            seen = read_stat(pid)
            if seen is not None and seen.name == name:
                states[pid] = seen.state
                found.append(pid)
        return found

    if master is not None and (seen := read_stat(master)) is not None:
        states[master] = seen.state
    startds = find_named("condor_startd", {own_pid} | ({master} if master is not None else set()))
    starters = find_named("condor_starter", {own_pid, *startds})
    stopped = frozenset(pid for pid, state in states.items() if state == "T")
    return Daemons(master, max(startds, default=None), tuple(sorted(starters)), stopped)


def _find_master(leader_pid: int, list_children: ListChildren, read_stat: ReadProcessStat) -> int | None:
    """The leader, or the condor_master a wrapper (a shell, `su`, `nice`) has started."""
    todo = [leader_pid]
    for _ in range(MAX_WRAPPER_DEPTH):
        for pid in todo:
            if (seen := read_stat(pid)) is not None and seen.name == "condor_master":
                return pid
        todo = [child for pid in todo for child in list_children(pid)]
    return None


def find_payloads(
    execute_directory: Path, starters: Iterable[int], known_names: Mapping[int, str], nameless_starters: frozenset[int]
) -> tuple[dict[int, str], frozenset[int]]:
    """Starter -> id of its job, from EXECUTE/dir_PID/.job.ad; and the starters whose ad cannot be read.

    `known` and `nameless` are the last look's: an ad is read once, and a starter without one counts from its second
    look on: it may only be starting, but a payload that cannot be named is one.
    """
    found: dict[int, str] = {}
    unknown = set()
    for starter in starters:
        name = known_names.get(starter) if starter not in nameless_starters else None
        if (name := name or _read_payload_id(execute_directory, starter)) is None:
            if _has_no_job(starter):
                continue
            unknown.add(starter)
            name = f"{NAMELESS_PREFIX}{starter}" if starter in nameless_starters else None
        if name is not None:
            found[starter] = name
    return found, frozenset(unknown)


def _read_payload_id(execute_directory: Path, starter: int) -> str | None:
    try:
        with open(execute_directory / f"dir_{starter}" / ".job.ad", errors="replace") as file:
            return get_payload_id(parse_ad(file.read(MAX_AD_BYTES).splitlines()))
    except OSError:
        return None


def _has_no_job(starter: int) -> bool:
    """The startd runs `condor_starter -classad` once, to learn what it can do."""
    try:
        with open(f"/proc/{starter}/cmdline", "rb") as file:
            return b"-classad" in file.read(4096).split(b"\0")
    except OSError:
        return False


def send_signal(pid: int, signal_number: int) -> bool:
    """Signal one process; False when it is gone or not ours. A stopped one is continued, or it would never act on
    it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal_number)
        if signal_number not in (signal.SIGCONT, signal.SIGKILL):
            os.kill(pid, signal.SIGCONT)
        return True
    return False
