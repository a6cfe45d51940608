"""Give the jobs of this node back to their queue, in the order that loses none, and take the node out of the cluster.

The order to send no more jobs comes first, lest the next one arrives meanwhile. Then the jobs are requeued, and slurmd
ends their steps with SIGTERM. Then slurmctld is told that the node is down: that frees at once each job whose steps do
not end, and fails each one that may not be requeued, instead of letting it run on paper until SlurmdTimeout. slurmd is
stopped last: without it no step would be told to end.

Where slurmctld gives no answer, a job that is asked to end must not be reported as failed by its slurmstepd once
slurmctld is back: a failed job is not given back. So each slurmstepd is stopped (SIGSTOP) before its processes get
SIGTERM, until its job is requeued or it is killed.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from autopilot.adapters.batch.kernel_events import wait_until_ended
from autopilot.adapters.batch.process_signals import send_signal
from autopilot.adapters.batch.slurm.job_limbo import choose_requeue_ids
from autopilot.adapters.batch.slurm.node_address import has_listener
from autopilot.adapters.batch.slurm.node_record import MAX_RECORD_LENGTH, OWN_REASON, parse_node_record
from autopilot.adapters.batch.slurm.slurm_commands import COMMAND_TIMEOUT_S as ORDER_TIMEOUT_S
from autopilot.adapters.batch.slurm.slurm_node_state import SlurmNodeState
from autopilot.process import job_processes
from autopilot.process.spawn import SpawnError, spawn
from autopilot.spec.plan import Command

TOTAL_TIMEOUT_S = 4.5  # of the port's five
COMMAND_TIMEOUT_S = 1.5  # for each order; an unreachable slurmctld takes longer to be noticed
STEP_TIMEOUT_S = 0.8  # from the requeue to the word that the node is down
REQUEUE_RETRY_S = 2.0  # from an order without an answer to the next one, after a soft stop
REQUEUED_STATES = "RUNNING,SUSPENDED"  # a job that is at its end is not run again
REASON = f"{OWN_REASON} stopped"


class JobReturn:
    """The return of this node's jobs."""

    def __init__(self, node_state: SlurmNodeState, env: Mapping[str, str]) -> None:
        """Wire the parts; `env` is the environment of Slurm's tools where no event loop runs."""
        self._node_state, self._env = node_state, env

    async def run(self) -> None:
        """Give all jobs back, end their steps, and remove the node; never lasts longer than TOTAL_TIMEOUT_S."""
        self._node_state.evicting = True
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                await self._return_jobs()
        except TimeoutError:
            pass
        finally:
            self.kill_steps()

    async def _return_jobs(self) -> None:
        node, commands = self._node_state, self._node_state.commands
        if node.answer is None:
            node.answer = await commands.query_node(node.name, COMMAND_TIMEOUT_S)
        if node.find_name_problem():  # another host's node: nobody can be told of this one
            await self._end_steps()
            return
        is_drained = not await commands.drain_node(node.name, REASON, COMMAND_TIMEOUT_S)
        jobs = node.refresh().jobs
        is_requeued = bool(jobs) and not await self._requeue_known(jobs, COMMAND_TIMEOUT_S)
        if not is_drained and not is_requeued:  # slurmctld is away, or does not know the node
            await self._end_steps()
            return
        if jobs:
            await wait_until_ended([step.pid for step in node.processes.steps], STEP_TIMEOUT_S)
        answer = await commands.query_node(node.name, COMMAND_TIMEOUT_S)
        if answer.record is None:
            return
        if answer.record.is_busy or node.refresh().steps:
            await commands.set_node_down(node.name, REASON, COMMAND_TIMEOUT_S)
        if answer.record.is_dynamic:
            self.kill_steps()
            await commands.delete_node(node.name, COMMAND_TIMEOUT_S)

    async def _end_steps(self) -> None:
        """Ask the processes of the steps to end, with no word to slurmctld."""
        self._hold_steps()
        await wait_until_ended(self._signal_steps(signal.SIGTERM), STEP_TIMEOUT_S)

    async def requeue(self, jobs: Iterable[str]) -> None:
        """Requeue these jobs. Those that may not be requeued, and all of a silent slurmctld, are asked to end."""
        jobs = tuple(jobs)
        if not jobs or await self._try_requeue(jobs):
            return
        self._hold_steps()
        self._signal_steps(signal.SIGTERM)
        while not self._node_state.evicting:
            await asyncio.sleep(REQUEUE_RETRY_S)  # slurmctld can only be asked
            if await self._try_requeue(jobs):
                self._release_steps()
                return

    async def _requeue_known(self, jobs: Sequence[str], timeout_s: float) -> str:
        """Requeue the jobs that slurmctld holds for running here; return "" or the problem in one line.

        The others are freed when the node is set down, which touches nothing on other nodes.
        """
        node = self._node_state
        queue = await node.commands.list_running_jobs(node.name, timeout_s, states=REQUEUED_STATES)
        if queue is None:
            return "squeue did not answer"
        if not (requeue_ids := choose_requeue_ids(queue, jobs)):
            return "slurmctld holds none of these jobs for running here"
        problem = await node.commands.requeue_jobs(requeue_ids, timeout_s)
        unknown = set(jobs) - {job.job for job in queue}
        return problem or (f"slurmctld does not hold {', '.join(sorted(unknown))} for running here" if unknown else "")

    async def _try_requeue(self, jobs: tuple[str, ...]) -> bool:
        """Give the order; return False without an answer. Jobs that slurmctld does not requeue get SIGTERM."""
        node = self._node_state
        if node.find_name_problem():
            self._signal_steps(signal.SIGTERM)
            return True
        # at once: a silent slurmctld is noticed after 10 s by either, and the jobs wait for their SIGTERM
        problem, answer = await asyncio.gather(
            self._requeue_known(jobs, ORDER_TIMEOUT_S), node.commands.query_node(node.name)
        )
        if not problem:
            return True
        if not answer.answered:
            return False
        self._signal_steps(signal.SIGTERM)
        return True

    def _hold_steps(self) -> None:
        """Stop each slurmstepd: it reports no end of its job."""
        for step in self._node_state.refresh().steps:
            send_signal(step.pid, signal.SIGSTOP)

    def _release_steps(self) -> None:
        for step in self._node_state.refresh().steps:
            send_signal(step.pid, signal.SIGCONT)

    def kill_steps(self) -> None:
        """Kill the steps that are left, with all processes below them."""
        self._signal_steps(signal.SIGKILL)

    def _signal_steps(self, number: int) -> list[int]:
        """Signal all processes of the steps and return their pids; a slurmstepd itself gets only SIGKILL."""
        signalled: list[int] = []
        for step in self._node_state.refresh().steps:
            below = list(job_processes.walk_descendants(step.pid))
            # the slurmstepd first: it would tell slurmctld that its job has failed, and a failed job is not given back
            signalled += [*([step.pid] if number == signal.SIGKILL else []), *below]
        for pid in signalled:
            send_signal(pid, number)
        return signalled

    def run_blocking(self) -> None:
        """Do as `run`, without an event loop; the jobs are requeued by the word that the node is down."""
        node, deadline = self._node_state, time.monotonic() + TOTAL_TIMEOUT_S
        node.evicting = True
        orders = [
            ("update", f"nodename={node.name}", "state=drain", f"reason={REASON}"),
            *([("update", f"nodename={node.name}", "state=down", f"reason={REASON}")] if node.refresh().jobs else []),
            ("delete", f"nodename={node.name}"),
        ]
        if not node.find_name_problem():
            self._give_orders(orders, deadline)
        self.kill_steps()
        if node.processes.slurmd is not None:
            send_signal(node.processes.slurmd, signal.SIGTERM)

    def abandon_steps(self) -> None:
        """Kill the steps that outlive a crashed slurmd, and give their jobs back at once.

        It blocks, some 0.1 s and 1.5 s at most: the life may end with slurmd, before any task runs.
        """
        self.kill_steps()
        if not self._node_state.find_name_problem():
            self._give_orders(self._build_removal(), time.monotonic() + COMMAND_TIMEOUT_S)

    def remove_leftover(self) -> None:
        """Remove the node that a killed life has left in slurmctld, and give its jobs back, before slurmd starts.

        slurmctld keeps the old address of a node that it knows, and its jobs would run on paper for minutes. A node at
        another address whose slurmd answers is no leftover: it has the same name by mistake. It blocks, some 0.1 s and
        3 s at most: slurmd must not have registered itself when the node is deleted.
        """
        deadline = time.monotonic() + 2 * COMMAND_TIMEOUT_S
        show = ("--oneliner", "show", "node", self._node_state.name)
        record = parse_node_record(self._run_scontrol(show, COMMAND_TIMEOUT_S) or "")
        if record is None or not record.is_leftover:
            return
        if not self._node_state.is_elsewhere(record) or not has_listener(record.address, record.port):
            self._give_orders(self._build_removal(), deadline)

    def _build_removal(self) -> list[tuple[str, ...]]:
        """Return the orders that give all jobs back at once and remove the node."""
        name = self._node_state.name
        return [("update", f"nodename={name}", "state=down", f"reason={REASON}"), ("delete", f"nodename={name}")]

    def _give_orders(self, orders: Sequence[tuple[str, ...]], deadline: float) -> None:
        """Run `scontrol` for each order, until one has no answer; a refusal is no reason to end."""
        for order in orders:
            if self._run_scontrol(order, min(COMMAND_TIMEOUT_S, deadline - time.monotonic())) is None:
                return

    def _run_scontrol(self, words: tuple[str, ...], timeout_s: float) -> str | None:
        """Return the beginning of its output; None when it does not end in time or cannot be started."""
        try:
            child = spawn(Command(argv=("scontrol", *words)), self._env)
        except SpawnError:
            return None
        output = None
        if wait_blocking(child.pid, timeout_s):
            with suppress(BlockingIOError):  # nothing was written by a process that left the pipe open
                output = os.read(child.stdout_fd, MAX_RECORD_LENGTH).decode(errors="replace")
            output = output or ""
        else:
            send_signal(child.pid, signal.SIGKILL)
        for descriptor in (child.stdout_fd, child.stderr_fd, child.problem_fd):
            os.close(descriptor)
        return output


def wait_blocking(pid: int, timeout_s: float) -> bool:
    """Wait for a child of ours without an event loop, and reap it; return False when it still runs after that time."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # reaped already, or out of descriptors
        return False
    try:
        has_ended = bool(select.select([descriptor], [], [], max(0.0, timeout_s))[0])
    finally:
        os.close(descriptor)
    if has_ended:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    return has_ended
