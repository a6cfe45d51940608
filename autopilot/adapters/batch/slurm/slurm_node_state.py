"""Hold the state of the Slurm node that all parts of this package share: its name, processes and last answers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from autopilot.adapters.batch.conditions import Conditions
from autopilot.adapters.batch.process_signals import send_signal
from autopilot.adapters.batch.slurm.job_limbo import BATCH_STEP, LimboWatch
from autopilot.adapters.batch.slurm.node_address import is_address_elsewhere
from autopilot.adapters.batch.slurm.node_arguments import build_slurm_node_name, find_given_name
from autopilot.adapters.batch.slurm.node_record import NodeRecord
from autopilot.adapters.batch.slurm.slurm_commands import ControllerAnswer, SlurmCommands
from autopilot.adapters.batch.slurm.slurm_processes import SlurmProcesses, find_slurm_processes, read_process_title
from autopilot.machines.cues import Cue, PayloadsCrashed, PayloadsObserved
from autopilot.process import job_processes


class SlurmNodeState:
    """The node as it was last observed.

    Attributes:
        name: The node's name in Slurm.
        is_name_guessed: Neither the job spec nor slurmd's arguments tell the name.
        leader_pid: The job's process: slurmd, or a wrapper that runs it; None while there is none.
        slurmd_since: The start of that process, on the loop's clock.
        answer: The last answer of slurmctld; None before the first.
        configured_address: The address that the job spec gives the node; None without one.
        draining: The drain has begun.
        evicting: We give the jobs back: their steps end at our order.
    """

    def __init__(self, commands: SlurmCommands, report: Callable[[Cue], None], poll: float) -> None:
        self.commands, self.report, self.poll = commands, report, poll
        self.name = build_slurm_node_name(None, None, os.uname().nodename)
        self.is_name_guessed = True
        self._is_name_fixed = False
        self.conditions = Conditions(report)
        self.leader_pid: int | None = None
        self.slurmd_since = 0.0
        self.processes = SlurmProcesses()
        self.payloads: tuple[str, ...] | None = None  # None: not observed yet
        self.answer: ControllerAnswer | None = None
        self.configured_address: str | None = None
        self.limbo = LimboWatch()
        self.draining = self.evicting = False
        self._lost: frozenset[str] = frozenset()
        self._first_pids: dict[str, int] = {}  # the first process of each batch step that was seen
        self.changed = asyncio.Event()  # a process began or ended: observe now
        self.query_due = asyncio.Event()  # something has happened that slurmctld knows more about

    def fix_name(self, name: str) -> None:
        """Set the node's name; without it the name is the one in slurmd's arguments, or else the host's."""
        self.name, self._is_name_fixed, self.is_name_guessed = name, True, False

    def find_name_problem(self) -> str | None:
        """Return one sentence when the node of this name is another host's: no order of ours may touch it; else None.

        The question is about slurmctld's last answer.
        """
        record = self.answer.record if self.answer is not None else None
        if record is None or not self.is_elsewhere(record):
            return None
        return (
            f"slurmctld has the node {self.name} at {record.address}, which is not this host: give each node of the "
            "cluster its own name (slurm.node.name); behind address translation write NodeAddr in slurm.node.settings"
        )

    def is_elsewhere(self, record: NodeRecord) -> bool:
        """Return True when slurmctld has the node that we have named at an address that is not ours."""
        return self._is_name_fixed and (
            record.address != self.configured_address and is_address_elsewhere(record.address)
        )

    @property
    def jobs_with_batch_step(self) -> tuple[str, ...]:
        """The jobs whose batch step runs here."""
        return tuple(step.job for step in self.processes.steps if step.name == BATCH_STEP)

    def refresh(self) -> SlurmProcesses:
        """Read the process table; report the payloads to the core when they changed."""
        before = self.processes
        self.processes = find_slurm_processes(self.leader_pid, os.getpid())
        slurmd = self.processes.slurmd
        if slurmd is not None and slurmd != before.slurmd and not self._is_name_fixed:
            given = find_given_name(read_process_title(slurmd).split())
            self.name, self.is_name_guessed = given or self.name, given is None
        self.limbo = self.limbo.observe_steps(self.jobs_with_batch_step)
        now = {step.job: step.first_pid for step in self.processes.steps if step.name == BATCH_STEP}
        self._first_pids = {job: pid for job, pid in self._first_pids.items() if job in self.limbo.seen}
        self._first_pids |= {job: pid for job, pid in now.items() if pid is not None}
        if payloads_ended(before, self.processes):
            self.query_due.set()
        if self.processes.jobs != self.payloads:
            self.payloads = self.processes.jobs
            self.report(PayloadsObserved(self.payloads))
        return self.processes

    def report_losses(self, jobs: tuple[str, ...], cause: str) -> None:
        """Report payloads that did not end in order, each one once; `cause` is one clause."""
        new = tuple(job for job in jobs if job not in self._lost)
        if new:
            self._lost |= frozenset(new)
            self.report(PayloadsCrashed(new, cause))

    def kill_orphans(self, jobs: tuple[str, ...]) -> None:
        """Kill the processes of lost jobs: their slurmstepd is gone, so nobody else ends them, and they run again."""
        orphans = set(job_processes.list_children(os.getpid()))
        for job in jobs:
            first = self._first_pids.pop(job, None)
            if first in orphans:  # else it has ended, and its pid may be that of another process
                for pid in (*job_processes.walk_descendants(first), first):
                    send_signal(pid, signal.SIGKILL)

    def get_payload_pids(self) -> dict[str, int]:
        """Return the first slurmstepd of each job."""
        return {step.job: step.pid for step in reversed(self.processes.steps) if step.job}


def payloads_ended(before: SlurmProcesses, after: SlurmProcesses) -> bool:
    """Return True when a job of the earlier look has no step any more."""
    return bool(set(before.jobs) - set(after.jobs))
