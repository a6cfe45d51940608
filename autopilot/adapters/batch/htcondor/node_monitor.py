"""Monitor the node: by the kernel and files, at no cost, and by HTCondor's tools."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable

from autopilot.adapters.batch.htcondor.daemon_troubles import describe_missing, describe_stopped, update_conditions
from autopilot.adapters.batch.htcondor.drain_runner import DEBOUNCE_S
from autopilot.adapters.batch.htcondor.drain_steps import STARTD_HOLD
from autopilot.adapters.batch.htcondor.free_space import find_space_problem
from autopilot.adapters.batch.htcondor.node_state import NodeState
from autopilot.adapters.batch.htcondor.pool_membership import PoolMembership
from autopilot.adapters.batch.htcondor.startd_health import StartdWakeups
from autopilot.adapters.batch.htcondor.token_watch import TokenWatch
from autopilot.adapters.batch.kernel_events import DirectoryWatch, ProcessEndWatch, wait_and_clear
from autopilot.adapters.batch.process_signals import send_signal
from autopilot.amounts import format_count
from autopilot.machines.cues import Drained
from autopilot.process.process_stat import count_wakeups
from autopilot.safe_files import read_file

HEARTBEAT_TIMEOUT_S = 30.0  # condor_master sends one every third of it
STARTD_SILENCE_S = 60.0  # a startd that waits for an unreachable manager is silent, too
STARTD_STARTUP_S = 30.0  # for the first startd to appear
UNSETTLED_POLL_S = 2.0  # between observations while the node is only starting
MAX_LOG_TAIL_BYTES = 16384
LOG_ERROR_WORDS = ("ERROR", "error", "Caught signal")


class NodeMonitor:
    """The observation of this node."""

    def __init__(
        self,
        node_state: NodeState,
        membership: PoolMembership,
        on_refresh: Callable[[], None],
        adjust_acceptance: Callable[[bool], Awaitable[None]],
        token_watch: TokenWatch,
    ) -> None:
        """Wire the parts.

        Args:
            node_state: The state that is kept up to date.
            membership: The questions to the collector.
            on_refresh: Called after each observation.
            adjust_acceptance: Closes (True) or opens the node for new jobs, within the limit of payloads.
            token_watch: Judges the node's tokens.
        """
        self._node_state, self._membership = node_state, membership
        self._on_refresh, self._adjust_acceptance = on_refresh, adjust_acceptance
        self._token_watch = token_watch
        self._process_ends = ProcessEndWatch(self._wake)
        self._execute_watch = DirectoryWatch(self._wake_for_payload)
        self._query_due = asyncio.Event()  # a payload began or ended, and the startd's count of them is wanted
        self._hold_reported = False
        self._startd_wakeups = StartdWakeups()

    def _wake(self) -> None:
        self._node_state.changed.set()

    def _wake_for_payload(self) -> None:
        self._wake()
        if self._node_state.has_payload_limit:
            self._query_due.set()

    # --- without commands ---

    async def run_observation(self) -> None:
        """Observe the node at each event, and every `poll` seconds."""
        loop, node = asyncio.get_running_loop(), self._node_state
        try:
            while True:
                now = loop.time()
                self._execute_watch.start(node.get_directory("EXECUTE"), loop)
                node.refresh(now)
                self._update_conditions(now)
                self._token_watch.update(now)
                daemons = node.daemons
                watched = (daemons.startd, daemons.shared_port, daemons.procd, *daemons.starters)
                self._process_ends.set_watched({pid for pid in watched if pid is not None}, loop)
                self._on_refresh()
                await wait_and_clear(
                    node.changed,
                    min(UNSETTLED_POLL_S, node.plan.poll) if node.is_unsettled(now) else node.plan.poll,
                )
                await asyncio.sleep(DEBOUNCE_S)
        finally:
            self._process_ends.set_watched(set(), loop)
            self._execute_watch.stop(loop)

    def _update_conditions(self, now: float) -> None:
        node, update = self._node_state, self._node_state.conditions.update
        update("execute-full", find_space_problem(node, "EXECUTE"), now)
        update("log-full", find_space_problem(node, "LOG"), now)
        update("master-silent", self.find_heartbeat_problem(now), now)
        update(
            "startd-down",
            self._find_startd_problem(),
            now,
            patience=0.0 if node.startd_appeared else STARTD_STARTUP_S,
        )
        update("startd-crash-loop", self._find_crash_loop(now), now)
        evicting = node.evicting
        for pid in update_conditions(node.conditions, node.daemons, node.helpers_seen, now, evicting=evicting):
            self._resume_process(pid)
        if node.conditions.is_active("master-silent"):
            self._resume_process(node.daemons.master)

    def find_helper_problem(self) -> str | None:
        """Return one sentence when a starter or helper is stopped or missing, or None."""
        node = self._node_state
        return describe_stopped(node.daemons) or describe_missing(node.daemons, node.helpers_seen)

    def find_heartbeat_problem(self, now: float) -> str | None:
        """Return one sentence when condor_master is silent; None also for a build without sd_notify."""
        age = self._node_state.heartbeat.compute_age(now)
        if self._node_state.leader_pid is None or age is None or age <= HEARTBEAT_TIMEOUT_S:
            return None
        return (
            f"condor_master has been silent for {age:.0f} s: it hangs or is stopped; "
            "see MasterLog, restart its job if it stays so"
        )

    def _find_startd_problem(self) -> str | None:
        node = self._node_state
        if node.draining or node.daemons.master is None or node.daemons.startd is not None:
            return None
        action = node.heartbeat.parse_problems().get("STARTD", "condor_master starts it again after a delay")
        return f"condor_startd does not run ({action}); {read_last_log_error(node)}"

    def _find_crash_loop(self, now: float) -> str | None:
        node = self._node_state
        if node.draining or not node.startd_starts.is_crash_looping(now):
            return None
        starts = len(node.startd_starts.start_times)
        return f"condor_startd started {starts} times in ten minutes; {read_last_log_error(node)}"

    def _resume_process(self, pid: int | None) -> None:
        """Continue a process that was stopped by SIGSTOP: no job is lost."""
        if pid is not None and pid in self._node_state.daemons.stopped:
            send_signal(pid, signal.SIGCONT)

    # --- by commands ---

    async def run_queries(self) -> None:
        """Ask every `poll` seconds: does the startd answer, does the pool know us, is there room again?"""
        loop, node = asyncio.get_running_loop(), self._node_state
        while True:
            began = loop.time()
            if node.daemons.master is not None:
                await self.query_startd()
                await self._check_hold()
                if not node.draining:
                    await self._membership.query_if_due(random.random())
                await self._adjust_acceptance(node.conditions.is_active("execute-full"))
            soon = not node.draining and (node.is_unsettled(began) or not self._membership.joined)
            pause = min(UNSETTLED_POLL_S, node.plan.poll) if soon else node.plan.poll
            await wait_and_clear(self._query_due, max(0.0, pause - DEBOUNCE_S - (loop.time() - began)))
            await asyncio.sleep(DEBOUNCE_S)

    async def _check_hold(self) -> None:
        """Report Drained when the startd was told to end by others (`condor_off -peaceful`, by hand or by a job)."""
        node = self._node_state
        if node.draining or self._hold_reported or not node.startd_appeared or node.daemons.startd is not None:
            return
        if (
            not node.daemons.starters
            and str((await node.commands.query_master()).get("STARTD", "")).lower() == STARTD_HOLD
        ):
            self._hold_reported = True
            node.report(Drained())

    async def query_startd(self, timeout: float | None = None) -> tuple[bool, str]:
        """Ask the startd itself; a process that does not answer for a minute is hung.

        Returns:
            Whether it answered, and one sentence about it.
        """
        node = self._node_state
        address, pid = node.read_startd_address(), node.daemons.startd
        if pid is None or address is None:
            node.conditions.update("startd-hung", None, asyncio.get_running_loop().time())
            return (
                False,
                "condor_startd does not run" if pid is None else "condor_startd is starting (no address file yet)",
            )
        answer = await (node.commands.query_slots(address, timeout) if timeout else node.commands.query_slots(address))
        now = asyncio.get_running_loop().time()
        if answer.ads is not None:
            node.slots, self._startd_wakeups = answer.ads, StartdWakeups()
            starts = [ad.get("JobStarts") for ad in answer.ads]  # the same in all of them
            node.record_job_starts(pid, max((count for count in starts if type(count) is int), default=0))
            node.conditions.update("startd-hung", None, now)
            return True, f"condor_startd answers with {format_count(len(answer.ads), 'slot')}"
        stopped = pid in node.daemons.stopped
        # the time that it was stopped does not count
        self._startd_wakeups = self._startd_wakeups.record(pid, None if stopped else count_wakeups(pid), now)
        hung = self._startd_wakeups.is_hung(now, max(STARTD_SILENCE_S, node.startd_timeout))
        remedy = "it has not woken up since; killing it" if hung else "see StartLog; it is killed when it stays so"
        detail = "it was stopped by SIGSTOP; sending SIGCONT" if stopped else remedy
        node.conditions.update("startd-hung", f"{answer.problem} (pid {pid}): {detail}", now, patience=STARTD_SILENCE_S)
        if node.conditions.is_active("startd-hung"):
            self._resume_process(pid)
            if hung:  # condor_master would, but takes no signs of life from a guarded startd
                send_signal(pid, signal.SIGKILL)
        return False, f"{answer.problem} (pid {pid}{', stopped' if stopped else ''})"


def read_last_log_error(node_state: NodeState) -> str:
    """Return the last error in the startd's log, or where to look, for the end of a sentence."""
    path = node_state.get_directory("LOG") / "StartLog"
    try:
        lines = read_file(path, MAX_LOG_TAIL_BYTES, from_end=True).decode(errors="replace").splitlines()
    except OSError:
        return f"see {path}"
    error = next((line for line in reversed(lines) if any(word in line for word in LOG_ERROR_WORDS)), None)
    return f"StartLog says: {error[:200]}" if error else f"see {path}"
