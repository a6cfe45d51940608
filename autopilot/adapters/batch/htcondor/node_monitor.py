"""The adapter's long look at the node: what the kernel and the files say (free), and what the daemons answer (by
tool)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable

from autopilot.adapters.batch.htcondor.daemons import send_signal
from autopilot.adapters.batch.htcondor.drain_runner import DEBOUNCE_S
from autopilot.adapters.batch.htcondor.drain_steps import STARTD_HOLD
from autopilot.adapters.batch.htcondor.kernel_events import DirectoryWatch, ProcessEndWatch
from autopilot.adapters.batch.htcondor.node_state import NodeState, wait_and_clear
from autopilot.adapters.batch.htcondor.pool_membership import PoolMembership
from autopilot.machines.cues import Drained

HEARTBEAT_TIMEOUT_S = 30.0  # s: condor_master speaks every third of it
STARTD_SILENCE_S = 60.0  # s a startd may be silent; one that waits for an unreachable manager is, too
STARTD_STARTUP_S = 30.0  # s for the first startd to appear
UNSETTLED_POLL_S = 2.0  # s between looks while something is only starting
SPACE_HYSTERESIS_FACTOR = 1.1  # space counts as there again a tenth above the limit


class NodeMonitor:
    """`looked` is called after each look; `refuse` closes (True) or opens the node for new jobs."""

    def __init__(
        self,
        node_state: NodeState,
        membership: PoolMembership,
        on_refresh: Callable[[], None],
        refuse_jobs: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._node_state, self._membership = node_state, membership
        self._on_refresh, self._refuse_jobs = on_refresh, refuse_jobs
        self._process_ends = ProcessEndWatch(self._wake)
        self._execute_watch = DirectoryWatch(self._wake)
        self._hold_reported = False

    def _wake(self) -> None:
        self._node_state.changed.set()

    # --- what costs nothing ---

    async def run_observation(self) -> None:
        """At each event, and every `poll` seconds."""
        loop, picture = asyncio.get_running_loop(), self._node_state
        try:
            while True:
                now = loop.time()
                self._execute_watch.start(picture.get_directory("EXECUTE"), loop)
                picture.refresh(now)
                self._update_conditions(now)
                daemons = picture.daemons
                self._process_ends.set_watched(
                    {pid for pid in (daemons.startd, *daemons.starters) if pid is not None}, loop
                )
                self._on_refresh()
                await wait_and_clear(
                    picture.changed,
                    min(UNSETTLED_POLL_S, picture.plan.poll) if picture.is_unsettled(now) else picture.plan.poll,
                )
                await asyncio.sleep(DEBOUNCE_S)
        finally:
            self._process_ends.set_watched(set(), loop)
            self._execute_watch.stop(loop)

    def _update_conditions(self, now: float) -> None:
        picture, note = self._node_state, self._node_state.conditions.update
        note("execute-full", find_space_problem(picture, "EXECUTE"), now)
        note("log-full", find_space_problem(picture, "LOG"), now)
        note("master-silent", self.find_heartbeat_problem(now), now)
        note(
            "startd-down",
            self._find_startd_problem(),
            now,
            patience=0.0 if picture.startd_appeared else STARTD_STARTUP_S,
        )
        note("startd-crash-loop", self._find_crash_loop(now), now)
        if picture.conditions.is_active("master-silent"):
            self._resume_process(picture.daemons.master)

    def find_heartbeat_problem(self, now: float) -> str | None:
        """None while it is fresh, or was never heard: not every build of HTCondor speaks sd_notify."""
        age = self._node_state.heartbeat.compute_age(now)
        if self._node_state.leader_pid is None or age is None or age <= HEARTBEAT_TIMEOUT_S:
            return None
        return (
            f"condor_master has been silent for {age:.0f} s: it hangs or is stopped; "
            "see MasterLog, restart its job if it stays so"
        )

    def _find_startd_problem(self) -> str | None:
        picture = self._node_state
        if picture.draining or picture.daemons.master is None or picture.daemons.startd is not None:
            return None
        what = picture.heartbeat.parse_problems().get("STARTD", "condor_master starts it again after a delay")
        return f"condor_startd does not run ({what}); {read_last_log_error(picture)}"

    def _find_crash_loop(self, now: float) -> str | None:
        picture = self._node_state
        if picture.draining or not picture.startd_starts.is_crash_looping(now):
            return None
        return f"condor_startd started {len(picture.startd_starts.start_times)} times in ten minutes; {read_last_log_error(picture)}"

    def _resume_process(self, pid: int | None) -> None:
        """A process that somebody stopped (SIGSTOP) is told to go on: no job is lost."""
        if pid is not None and pid in self._node_state.daemons.stopped:
            send_signal(pid, signal.SIGCONT)

    # --- what needs a command ---

    async def run_queries(self) -> None:
        """Every `poll` seconds: does the startd answer, does the pool know us, is there room again."""
        loop, picture = asyncio.get_running_loop(), self._node_state
        while True:
            began = loop.time()
            if picture.daemons.master is not None:
                await self.query_startd()
                await self._check_hold()
                if not picture.draining:
                    await self._membership.query_if_due(random.random())
                await self._refuse_jobs(picture.conditions.is_active("execute-full"))
            soon = not picture.draining and (picture.is_unsettled(began) or not self._membership.joined)
            pause = min(UNSETTLED_POLL_S, picture.plan.poll) if soon else picture.plan.poll
            await asyncio.sleep(max(DEBOUNCE_S, pause - (loop.time() - began)))

    async def _check_hold(self) -> None:
        """Somebody else told the startd to end for good (`condor_off -peaceful`, by hand or as a job of the spec)."""
        picture = self._node_state
        if picture.draining or self._hold_reported or not picture.startd_appeared or picture.daemons.startd is not None:
            return
        if (
            not picture.daemons.starters
            and str((await picture.commands.query_master()).get("STARTD", "")).lower() == STARTD_HOLD
        ):
            self._hold_reported = True
            picture.report(Drained())

    async def query_startd(self, timeout: float | None = None) -> tuple[bool, str]:
        """Ask the startd itself; a process that does not answer for a minute is hung."""
        picture = self._node_state
        address, pid = picture.read_startd_address(), picture.daemons.startd
        if pid is None or address is None:
            picture.conditions.update("startd-hung", None, asyncio.get_running_loop().time())
            return (
                False,
                "condor_startd does not run" if pid is None else "condor_startd is starting (no address file yet)",
            )
        answer = await (
            picture.commands.query_slots(address, timeout) if timeout else picture.commands.query_slots(address)
        )
        now = asyncio.get_running_loop().time()
        if answer.ads is not None:
            picture.slots = answer.ads
            picture.conditions.update("startd-hung", None, now)
            return True, f"condor_startd answers with {len(answer.ads)} slots"
        stopped = pid in picture.daemons.stopped
        why = (
            "somebody stopped it (SIGSTOP); it is told to go on"
            if stopped
            else "see StartLog; condor_master kills it when it stays so"
        )
        picture.conditions.update("startd-hung", f"{answer.problem} (pid {pid}): {why}", now, patience=STARTD_SILENCE_S)
        if picture.conditions.is_active("startd-hung"):
            self._resume_process(pid)
        return False, f"{answer.problem} (pid {pid}{', stopped' if stopped else ''})"


def read_free_bytes(node_state: NodeState, name: str) -> int | None:
    try:
        room = os.statvfs(node_state.get_directory(name))
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def find_space_problem(node_state: NodeState, name: str) -> str | None:
    plan = node_state.plan
    least = plan.min_execute if name == "EXECUTE" else plan.min_log
    free, where = read_free_bytes(node_state, name), node_state.get_directory(name)
    if free is None:
        return f"{name} = {where} cannot be read: is it still mounted?"
    if node_state.conditions.is_active(f"{name.lower()}-full"):
        least = int(least * SPACE_HYSTERESIS_FACTOR)
    if free >= least:
        return None
    return (
        f"{name} = {where} has {free >> 20} MiB free, less than {least >> 20} MiB: "
        f"make room, or lower htcondor.min_{name.lower()}"
    )


def read_last_log_error(node_state: NodeState) -> str:
    """The last complaint in the startd's log, for the one who has to find out why."""
    path = node_state.get_directory("LOG") / "StartLog"
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return f"see {path}"
    said = next(
        (line for line in reversed(lines) if "ERROR" in line or "error" in line or "Caught signal" in line), None
    )
    return f"StartLog says: {said[:200]}" if said else f"see {path}"
