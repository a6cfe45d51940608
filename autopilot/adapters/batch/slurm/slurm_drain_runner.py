"""Run the drain that `slurm_drain` decides: observe, act, wait, until nothing runs and the node is gone."""

from __future__ import annotations

import asyncio
import signal

from autopilot.adapters.batch.kernel_events import wait_and_clear
from autopilot.adapters.batch.process_signals import send_signal
from autopilot.adapters.batch.slurm.node_record import OWN_REASON
from autopilot.adapters.batch.slurm.slurm_drain import (
    SlurmDrainAction,
    SlurmDrainState,
    SlurmSnapshot,
    decide_drain,
)
from autopilot.adapters.batch.slurm.slurm_node_state import SlurmNodeState
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Drained

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 10.0  # between two questions to slurmctld while jobs run; their end is seen at once


class SlurmDrainRunner:
    """The drain of this node.

    Attributes:
        state: Its progress.
        action: The last decision; None before the drain.
        node_changed: Set it when the node was observed again.
    """

    def __init__(self, node_state: SlurmNodeState) -> None:
        self._node_state = node_state
        self._requested = asyncio.Event()
        self._reason = ""
        self._is_reported = False
        self.state = SlurmDrainState()
        self.action: SlurmDrainAction | None = None
        self.node_changed = asyncio.Event()

    def begin(self, reason: str) -> None:
        """Begin, once; `reason` is shown by sinfo."""
        if not self._requested.is_set():
            self._reason = f"{OWN_REASON} {reason}"
            self._node_state.draining = True
            self._requested.set()

    def report_drained(self) -> None:
        """Tell the core, once, that no payload is left and none can come."""
        if not self._is_reported:
            self._is_reported = True
            self._node_state.report(Drained())

    async def run(self) -> None:
        """Wait for `begin`, empty the node and report Drained."""
        await self._requested.wait()
        loop, pause_s, problem = asyncio.get_running_loop(), FIRST_PAUSE_S, ""
        while not self._node_state.evicting:
            snapshot = await self._take_snapshot()
            self.state, action = decide_drain(self.state, snapshot, loop.time())
            pause_s = FIRST_PAUSE_S if action is not self.action else min(pause_s * 2, MAX_PAUSE_S)
            self.action = action
            if action is SlurmDrainAction.DONE:
                self.report_drained()
                return
            problem = self._report_problem(problem, await self._act(action))
            await wait_and_clear(self.node_changed, pause_s)

    async def _act(self, action: SlurmDrainAction) -> str:
        node = self._node_state
        match action:
            case SlurmDrainAction.ORDER:
                return await node.commands.drain_node(node.name, self._reason)
            case SlurmDrainAction.REMOVE:
                return await node.commands.delete_node(node.name)
            case SlurmDrainAction.CLOSE if node.processes.slurmd is not None:
                send_signal(node.processes.slurmd, signal.SIGTERM)  # its end in order is the end of the drain
        return ""

    def _report_problem(self, before: str, now: str) -> str:
        """Report an order that failed, and its success later; returns the problem that is reported now."""
        if now and not before:
            self._node_state.report(ConditionDetected("drain", f"{now}; trying again"))
        elif before and not now:
            self._node_state.report(ConditionResolved("drain"))
        return now

    async def _take_snapshot(self) -> SlurmSnapshot:
        node = self._node_state
        answer = await node.commands.query_node(node.name)
        node.answer = answer
        processes = node.refresh()
        record = None if node.find_name_problem() else answer.record  # another host's node is not ours to drain
        return SlurmSnapshot(answer.answered, record, len(processes.steps), processes.slurmd is not None)
