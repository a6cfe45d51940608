"""Monitor the Slurm node: its processes by the kernel, at no cost, and its record by Slurm's tools."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

from autopilot.adapters.batch.conditions import Backoff
from autopilot.adapters.batch.kernel_events import DirectoryWatch, ProcessEndWatch, wait_and_clear
from autopilot.adapters.batch.process_signals import send_signal
from autopilot.adapters.batch.slurm.job_limbo import choose_requeue_ids
from autopilot.adapters.batch.slurm.slurm_node_state import SlurmNodeState

DEBOUNCE_S = 0.3  # from an event to the observation that it causes, so that a burst causes one
UNSETTLED_POLL_S = 2.0  # between questions while the node is not in order
SUSPICION_POLL_S = 1.0  # between questions while the end of a payload is not explained
FIRST_LOOKUP_PAUSE_S, MAX_LOOKUP_PAUSE_S = 0.5, 60.0  # between two looks for slurmd's spool directory
REGISTRATION_PATIENCE_S = 30.0
UNREACHABLE_PATIENCE_S = 15.0
MUNGE_PATIENCE_S = 10.0


class SlurmMonitor:
    """The observation of this node."""

    def __init__(self, node_state: SlurmNodeState, config_paths: Sequence[str], on_refresh: Callable[[], None]) -> None:
        """Wire the parts.

        Args:
            node_state: The state that is kept up to date.
            config_paths: The places of slurm.conf; the first one that exists counts.
            on_refresh: Called after an observation in which the payloads changed.
        """
        self._node_state = node_state
        self._config_paths, self._on_refresh = config_paths, on_refresh
        self._is_permitted = False
        self._process_ends = ProcessEndWatch(node_state.changed.set)
        self._spool_watch = DirectoryWatch(node_state.changed.set)
        self._lookup = Backoff(FIRST_LOOKUP_PAUSE_S, MAX_LOOKUP_PAUSE_S)

    async def run_observation(self) -> None:
        """Observe the processes at each event, and every `poll` seconds."""
        loop, node = asyncio.get_running_loop(), self._node_state
        try:
            while True:
                before = node.processes
                processes = node.refresh()
                if processes != before:
                    self._on_refresh()
                pids = {step.pid for step in processes.steps} | {processes.slurmd}
                self._process_ends.set_watched({pid for pid in pids if pid is not None}, loop)
                if processes.is_stopped and processes.slurmd is not None:
                    node.conditions.update("slurmd-stopped", describe_stopped(processes.slurmd), loop.time())
                    send_signal(processes.slurmd, signal.SIGCONT)
                else:
                    node.conditions.update("slurmd-stopped", None, loop.time())
                is_lookup_due = not self._spool_watch.is_watching and self._lookup.is_due(loop.time())
                if processes.slurmd is not None and is_lookup_due:
                    await self._watch_spool_directory(loop)
                nameless = any(not step.job for step in processes.steps)
                await wait_and_clear(node.changed, DEBOUNCE_S if nameless else min(node.poll, 5.0))
                await asyncio.sleep(DEBOUNCE_S)
        finally:
            self._process_ends.set_watched(set(), loop)
            self._spool_watch.stop(loop)

    async def _watch_spool_directory(self, loop: asyncio.AbstractEventLoop) -> None:
        """Learn of each new step at once from now on; where that fails, the poll sees it later."""
        self._lookup = self._lookup.record_try(loop.time(), 0.0)
        directory = await self._node_state.commands.find_spool_directory(self._config_paths, self._node_state.name)
        if directory is not None and self._spool_watch.start(directory, loop):
            self._lookup = self._lookup.reset()
            self._node_state.changed.set()  # a step may have begun before

    async def run_queries(self) -> None:
        """Ask slurmctld about the node every `poll` seconds, and at once when a payload has ended."""
        node = self._node_state
        while True:
            await self.query()
            await wait_and_clear(node.query_due, self._choose_pause())

    def _choose_pause(self) -> float:
        node = self._node_state
        if node.limbo.is_suspicious():
            return min(SUSPICION_POLL_S, node.poll)
        is_settled = node.answer is not None and node.answer.record is not None
        return node.poll if is_settled else min(UNSETTLED_POLL_S, node.poll)

    async def query(self) -> None:
        """Ask once; report what is wrong, and treat what can be treated."""
        node, now = self._node_state, asyncio.get_running_loop().time
        munge_problem = await node.commands.check_munge()
        node.conditions.update("munge-down", munge_problem or None, now(), patience=MUNGE_PATIENCE_S)
        if munge_problem:
            return  # no question has an answer without it
        answer = node.answer = await node.commands.query_node(node.name)
        if node.evicting:
            return
        unreachable = None if answer.answered else f"cannot reach slurmctld: {answer.problem}; check it and the network"
        node.conditions.update("controller-unreachable", unreachable, now(), patience=UNREACHABLE_PATIENCE_S)
        if not answer.answered:
            return
        node.conditions.update(
            "node-unknown", self._find_registration_problem(), now(), patience=REGISTRATION_PATIENCE_S
        )
        await self._check_permission()
        record, name_problem = answer.record, node.find_name_problem()
        node.conditions.update("node-name-taken", name_problem, now(), patience=REGISTRATION_PATIENCE_S)
        if record is None or name_problem:
            node.conditions.update("node-closed", None, now())
            return
        if record.is_closed_by_us and not node.draining:
            await node.commands.resume_node(node.name)  # an earlier life of this node has drained it
            answer = node.answer = await node.commands.query_node(node.name)
            record = answer.record or record
        node.conditions.update("node-closed", record.find_problem(draining=node.draining), now())
        if record.is_busy or node.limbo.missing_since:
            await self._return_lost_jobs(now())
        else:
            node.limbo, _ = node.limbo.observe_queue(node.name, (), node.jobs_with_batch_step, now(), 0.0)

    async def _check_permission(self) -> None:
        """Report once slurmctld knows the node that it takes no order about it from here; ask until it takes one."""
        node = self._node_state
        record = node.answer.record if node.answer is not None else None
        if self._is_permitted or record is None or record.has_comment or node.find_name_problem():
            return
        problem = await node.commands.find_denial(node.name)
        self._is_permitted = not problem
        node.conditions.update("orders-refused", problem or None, asyncio.get_running_loop().time())

    def _find_registration_problem(self) -> str | None:
        node = self._node_state
        if node.answer is None or node.answer.record is not None or node.draining or node.processes.slurmd is None:
            return None
        if node.is_name_guessed:
            return (
                f"slurmctld knows no node {node.name}, which is this host's name: give slurmd the node's name of "
                "slurm.conf (-N NAME), or write slurm.node"
            )
        return (
            f"slurmctld knows no node {node.name}: slurm.conf needs MaxNodeCount, and a partition with Nodes=ALL; "
            "see the log of slurmd"
        )

    async def _return_lost_jobs(self, now: float) -> None:
        """Give back the jobs that run for slurmctld only."""
        node = self._node_state
        running = await node.commands.list_running_jobs(node.name)
        if running is None or node.evicting:
            return
        node.refresh()
        known = node.limbo.seen
        age_s = now - node.slurmd_since
        node.limbo, lost = node.limbo.observe_queue(node.name, running, node.jobs_with_batch_step, now, age_s)
        if lost:
            node.report_losses(tuple(job for job in lost if job in known), "its slurmstepd crashed or was killed")
            node.kill_orphans(lost)
            if requeue_ids := choose_requeue_ids(running, lost):
                await node.commands.requeue_jobs(requeue_ids)


def describe_stopped(pid: int) -> str:
    """Return one sentence about a slurmd that was stopped."""
    return f"slurmd (pid {pid}) was stopped by SIGSTOP; sending SIGCONT"
