"""Find slurmd and the steps of its jobs in /proc: no command, no query.

A step is a slurmstepd, whose title names its job: `slurmstepd: [12.batch]`. It outlives slurmd, and is then our child,
as every orphan is. A payload cannot pass for one: a slurmstepd has the real uid that slurmd has.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from autopilot.process import job_processes, process_stat

SLURMD_NAME, STEPD_NAME = "slurmd", "slurmstepd"
CGROUP_KEEPER = "infinity"  # argument of the slurmstepd that keeps slurmd's cgroup, with no job
MAX_TITLE_BYTES = 4096
MAX_WRAPPER_DEPTH = 4  # processes from the leader to slurmd
_TITLE = re.compile(r"slurmstepd: \[(\d{1,18})\.([A-Za-z0-9_+]{1,32})\]")


def read_process_title(pid: int) -> str:
    """Return the command line of a process as one text; "" when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(MAX_TITLE_BYTES).replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def find_job_id(title: str) -> str | None:
    """Return the job's id in the title of a slurmstepd; None in any other command line."""
    found = _TITLE.match(title)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Step:
    """A running step: its slurmstepd, its job and the job's owner.

    Attributes:
        pid: The slurmstepd.
        job: The job's id; "" while the slurmstepd only begins and has no title yet.
        name: `batch`, `extern`, `interactive` or the step's number.
        owner: The user of its first process; "" before that has started.
        first_pid: The first process; None before that has started.
    """

    pid: int
    job: str
    name: str = ""
    owner: str = ""
    first_pid: int | None = None


@dataclass(frozen=True, slots=True)
class SlurmProcesses:
    """Slurm's processes at one moment. Zombies are left out."""

    slurmd: int | None = None
    steps: tuple[Step, ...] = ()
    is_stopped: bool = False  # somebody sent SIGSTOP to slurmd

    @property
    def jobs(self) -> tuple[str, ...]:
        """The ids of the jobs that have a step here."""
        return tuple(sorted({step.job for step in self.steps if step.job}, key=lambda job: (len(job), job)))


ListChildren = Callable[[int], Iterable[int]]
ReadProcessStat = Callable[[int], tuple[str, str] | None]
ReadUids = Callable[[int], tuple[int, int] | None]


def find_slurm_processes(
    leader_pid: int | None,
    own_pid: int,
    *,
    list_children: ListChildren = job_processes.list_children,
    read_stat: ReadProcessStat = process_stat.read_process_stat,
    read_uids: ReadUids = process_stat.read_uids,
    read_title: Callable[[int], str] = read_process_title,
) -> SlurmProcesses:
    """Find slurmd below the job's process, and the steps below slurmd and among our own children.

    Args:
        leader_pid: The job's process, slurmd itself or a wrapper around it; None once it is gone.
        own_pid: Our pid: the new parent of each slurmstepd that has left its slurmd.
        list_children: Returns the children of a pid.
        read_stat: Returns (name, state) of a live pid.
        read_uids: Returns the real and the effective uid of a pid.
        read_title: Returns the command line of a pid as one text.
    """
    slurmd = None if leader_pid is None else _find_slurmd(leader_pid, list_children, read_stat)
    daemon_uid = (read_uids(slurmd if slurmd is not None else own_pid) or (0, 0))[0]
    steps = []
    for pid in _list_candidates(slurmd, own_pid, list_children):
        stat, uids = read_stat(pid), read_uids(pid)
        if stat is not None and stat[0].startswith(STEPD_NAME) and uids is not None and uids[0] == daemon_uid:
            title = read_title(pid)
            if title.rstrip().endswith(CGROUP_KEEPER):
                continue
            found = _TITLE.match(title)
            first = _find_first_process(pid, daemon_uid, list_children, read_uids)
            owner = "" if first is None else get_user_name((read_uids(first) or (daemon_uid, 0))[0])
            steps.append(Step(pid, found[1], found[2], owner, first) if found else Step(pid, ""))
    stat = read_stat(slurmd) if slurmd is not None else None
    is_stopped = stat is not None and stat[1] == process_stat.STOPPED_STATE
    return SlurmProcesses(slurmd, tuple(sorted(steps, key=lambda step: step.pid)), is_stopped)


def _list_candidates(slurmd: int | None, own_pid: int, list_children: ListChildren) -> Iterator[int]:
    yield from list_children(own_pid)
    if slurmd is not None:
        yield from list_children(slurmd)


def _find_slurmd(leader_pid: int, list_children: ListChildren, read_stat: ReadProcessStat) -> int | None:
    """Return the leader's pid, or that of the slurmd that a wrapper (a shell, `nice`) has started."""
    todo = [leader_pid]
    for _ in range(MAX_WRAPPER_DEPTH):
        for pid in todo:
            if (stat := read_stat(pid)) is not None and stat[0] == SLURMD_NAME:
                return pid
        todo = [child for pid in todo for child in list_children(pid)]
    return None


def _find_first_process(stepd: int, daemon_uid: int, list_children: ListChildren, read_uids: ReadUids) -> int | None:
    """Return a step's first process, one of another user than slurmd if there is one; None while there is none."""
    children = [(child, found[0]) for child in list_children(stepd) if (found := read_uids(child)) is not None]
    foreign = next((child for child, uid in children if uid != daemon_uid), None)
    return foreign if foreign is not None or not children else children[0][0]


def get_user_name(uid: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
