"""HTCondor's processes and their payloads, read from /proc and EXECUTE: no command, no query, well under a
millisecond.

A payload cannot pass for a daemon: daemons are found by descent from condor_master (or from us, once their parent
died), and a payload is one only while the starter its directory is named after lives.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.htcondor.classads import parse_ad, payload_id

AD_LIMIT = 1 << 20  # bytes read of one job ad
DAEMON_PREFIX = "condor_"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    name: str  # comm: 15 characters at most
    state: str  # R, S, D, T (stopped), Z, ...


@dataclass(frozen=True, slots=True)
class Daemons:
    """One look at the process table. Zombies are left out."""

    master: int | None
    startd: int | None
    starters: tuple[int, ...]
    stopped: frozenset[int]  # pids among them in state T: somebody sent SIGSTOP
    payload_pids: tuple[int, ...]  # what the starters started, and all below it


def parse_stat(text: str) -> Process | None:
    """One /proc/PID/stat; None for a line it is not. The name stands in parentheses and may hold any byte, `)` too."""
    head, _, rest = text.rpartition(")")
    pid, _, name = head.partition(" (")
    words = rest.split()
    if not pid.isdigit() or len(words) < 2 or not words[1].isdigit():
        return None
    return Process(int(pid), int(words[1]), name, words[0])


def process_table(proc: Path = Path("/proc")) -> dict[int, Process]:
    table: dict[int, Process] = {}
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            with open(proc / entry / "stat", errors="replace") as file:
                process = parse_stat(file.read(4096))
        except OSError:  # gone between the listing and the look
            continue
        if process is not None and process.state not in "ZX":
            table[process.pid] = process
    return table


def find_daemons(table: Mapping[int, Process], leader: int | None, own: int) -> Daemons:
    """`leader`: the job's process, condor_master itself or a wrapper around it; None once it is gone. `own`: our pid,
    the new parent of daemons that lost theirs."""
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    master = _first(table, _family(children, leader), "condor_master") if leader is not None else None
    tops = [pid for pid in (master, own) if pid is not None]
    startds = _named(table, children, tops, "condor_startd")
    starters = _named(table, children, [*startds, own], "condor_starter")
    below = [pid for starter in starters for child in children.get(starter, []) for pid in _family(children, child)]
    payloads = [pid for pid in below if not table[pid].name.startswith(DAEMON_PREFIX)]
    stopped = frozenset(p for p in (master, *startds, *starters) if p is not None and table[p].state == "T")
    return Daemons(master, startds[-1] if startds else None, tuple(starters), stopped, tuple(payloads))


def _named(table: Mapping[int, Process], children: Mapping[int, list[int]], parents: list[int], name: str) -> list[int]:
    return [pid for parent in parents for pid in children.get(parent, []) if table[pid].name == name]


def _family(children: Mapping[int, list[int]], top: int) -> Iterator[int]:
    todo = [top]
    while todo:
        pid = todo.pop()
        yield pid
        todo.extend(children.get(pid, ()))


def _first(table: Mapping[int, Process], pids: Iterator[int], name: str) -> int | None:
    return next((pid for pid in pids if pid in table and table[pid].name == name), None)


def payloads(
    execute: Path, starters: tuple[int, ...], nameless: frozenset[int]
) -> tuple[dict[int, str], frozenset[int]]:
    """Starter -> id of its job, from EXECUTE/dir_PID/.job.ad; and the starters whose ad cannot be read.

    Such a starter may only be starting, or be startd's own test of it, so it counts once it was `nameless` in the look
    before: a payload that cannot be named is still a payload.
    """
    found: dict[int, str] = {}
    unknown = set()
    for starter in starters:
        try:
            with open(execute / f"dir_{starter}" / ".job.ad", errors="replace") as file:
                name = payload_id(parse_ad(file.read(AD_LIMIT).splitlines()))
        except OSError:
            name = None
        if name is None:
            unknown.add(starter)
            name = f"starter-{starter}" if starter in nameless else None
        if name is not None:
            found[starter] = name
    return found, frozenset(unknown)


def send(pid: int, number: int) -> bool:
    """Signal one process; False when it is gone or not ours. A stopped one is continued, or it would never act on
    it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        if number not in (signal.SIGCONT, signal.SIGKILL):
            os.kill(pid, signal.SIGCONT)
        return True
    return False
