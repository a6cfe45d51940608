"""Run Slurm's command line tools, each with its own time limit.

An exit status of 0 proves nothing: callers observe the node afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.batch.slurm.job_limbo import QUEUE_FORMAT, RunningJob, parse_running_jobs
from autopilot.adapters.batch.slurm.node_record import NodeRecord, parse_node_record
from autopilot.adapters.batch.slurm.spool_directory import (
    LOOKUP_TIMEOUT_S,
    build_lookup_command,
    parse_spool_directory,
)
from autopilot.runtime.command_runner import CommandResult, CommandRunner, describe_failure
from autopilot.spec.plan import Command

COMMAND_TIMEOUT_S = 10.0
MAX_REASON_LENGTH = 200
INVALID_NODE = "Invalid node name specified"  # Slurm's own text of this error
DENIALS = ("Access/permission denied", "Invalid user id")  # also of an order about a node
NO_CONTACT = "Unable to contact"


@dataclass(frozen=True, slots=True)
class ControllerAnswer:
    """The answer of slurmctld about this node.

    Attributes:
        answered: It has answered.
        record: The node; None when it knows no such node, or has not answered.
        problem: The failure in one line; "" when it has answered.
    """

    answered: bool
    record: NodeRecord | None = None
    problem: str = ""


def says_unknown_node(output: str, name: str) -> bool:
    """Return True when scontrol printed that slurmctld knows no node of this name, and not that it got no answer."""
    lines = [line.strip() for line in output.splitlines()]
    is_unknown = any(line == f"Node {name} not found" or line.endswith(INVALID_NODE) for line in lines)
    return is_unknown and NO_CONTACT not in output


class SlurmCommands:
    """Slurm's tools, run among the supervisor's processes."""

    def __init__(self, command_runner: CommandRunner, env: Mapping[str, str]) -> None:
        """Run tools by `command_runner`, with the variables `env` over the supervisor's own."""
        self._command_runner, self._env = command_runner, env

    async def run(self, *argv: str, timeout: float = COMMAND_TIMEOUT_S) -> CommandResult:
        """Run one tool; `timeout` is in seconds."""
        return await self._command_runner.run(Command(argv=argv, env=self._env), timeout=timeout, name=argv[0])

    async def query_node(self, name: str, timeout: float = COMMAND_TIMEOUT_S) -> ControllerAnswer:
        """Return what slurmctld says of the node."""
        done = await self.run("scontrol", "--oneliner", "show", "node", name, timeout=timeout)
        if (record := parse_node_record(done.output)) is not None and record.name == name:
            return ControllerAnswer(True, record)
        if not done.timed_out and says_unknown_node(done.output, name):
            return ControllerAnswer(True)
        return ControllerAnswer(False, problem=describe_failure(done, "slurmctld"))

    async def query_slurmd(self, name: str, timeout: float = COMMAND_TIMEOUT_S) -> str:
        """Return "" when slurmd answers on this host, else the problem in one line."""
        done = await self.run("scontrol", "show", "slurmd", name, timeout=timeout)
        if not done.timed_out and done.status == 0 and "Slurmd PID" in done.output:
            return ""
        return describe_failure(done, "slurmd")

    async def check_munge(self, timeout: float = COMMAND_TIMEOUT_S) -> str:
        """Return "" when munge makes a credential, else the problem in one line."""
        done = await self.run("munge", "--no-input", timeout=timeout)
        if not done.timed_out and done.status == 0:
            return ""
        return describe_failure(done, "munge")

    async def list_running_jobs(
        self, name: str, timeout: float = COMMAND_TIMEOUT_S, *, states: str = "RUNNING"
    ) -> tuple[RunningJob, ...] | None:
        """Return the jobs that slurmctld holds for running on the node; None without an answer."""
        words = ("--noheader", f"--states={states}", f"--nodelist={name}", f"--Format={QUEUE_FORMAT}")
        done = await self.run("squeue", *words, timeout=timeout)
        if done.timed_out or done.status != 0:
            return None
        return parse_running_jobs(done.output)

    async def find_denial(self, name: str, timeout: float = COMMAND_TIMEOUT_S) -> str:
        """Return "" unless slurmctld takes no order about the node from us; else one sentence with the remedy.

        The order changes nothing: it empties a comment that is empty.
        """
        problem = await self._scontrol("update", f"nodename={name}", "comment=", timeout=timeout)
        if not any(words in problem for words in DENIALS):
            return ""
        return (
            f"{problem}: it cannot be drained and its jobs cannot be given back; run the supervisor as SlurmUser, "
            "or make its user an operator in Slurm's accounting"
        )

    async def find_spool_directory(self, paths: Sequence[str], name: str) -> Path | None:
        """Return slurmd's spool directory by the first of these files that exists; None without one, or in time."""
        done = await self.run(*build_lookup_command(paths), timeout=LOOKUP_TIMEOUT_S)
        if done.timed_out or done.status != 0:
            return None
        return parse_spool_directory(done.output, name, os.uname().nodename)

    async def drain_node(self, name: str, reason: str, timeout: float = COMMAND_TIMEOUT_S) -> str:
        """Tell slurmctld to send no job to the node; return "" or the problem in one line."""
        return await self._update_node(name, "drain", reason, timeout)

    async def set_node_down(self, name: str, reason: str, timeout: float = COMMAND_TIMEOUT_S) -> str:
        """Tell slurmctld that the node is gone: it gives all jobs of the node back at once."""
        return await self._update_node(name, "down", reason, timeout)

    async def resume_node(self, name: str, timeout: float = COMMAND_TIMEOUT_S) -> str:
        """Open the node for jobs again; return "" or the problem in one line."""
        return await self._scontrol("update", f"nodename={name}", "state=resume", timeout=timeout)

    async def delete_node(self, name: str, timeout: float = COMMAND_TIMEOUT_S) -> str:
        """Remove a dynamic node from slurmctld; return "" or the problem in one line."""
        return await self._scontrol("delete", f"nodename={name}", timeout=timeout)

    async def requeue_jobs(self, requeue_ids: Iterable[str], timeout: float = COMMAND_TIMEOUT_S) -> str:
        """Give jobs back to their queue; their steps get SIGTERM, and SIGKILL after KillWait seconds.

        Args:
            requeue_ids: The `requeue_id` of each job. `Incomplete`: one that has ended meanwhile does not run again.
            timeout: Seconds.

        Returns:
            "" or the problem in one line: a job submitted with --no-requeue is refused.
        """
        return await self._scontrol("requeue", "Incomplete", ",".join(requeue_ids), timeout=timeout)

    async def _update_node(self, name: str, state: str, reason: str, timeout: float) -> str:
        words = (f"nodename={name}", f"state={state}", f"reason={reason[:MAX_REASON_LENGTH]}")
        return await self._scontrol("update", *words, timeout=timeout)

    async def _scontrol(self, *words: str, timeout: float) -> str:
        done = await self.run("scontrol", *words, timeout=timeout)
        if not done.timed_out and done.status == 0:
            return ""
        return describe_failure(done, f"scontrol {words[0]}")
