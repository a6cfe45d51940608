"""Run the drain that `drain_steps` decides: observe, act, wait, until nothing runs and nothing can start."""

from __future__ import annotations

import asyncio
import random

from autopilot.adapters.batch.htcondor import drain_steps
from autopilot.adapters.batch.htcondor.classads import Ad, Value
from autopilot.adapters.batch.htcondor.condor_commands import QueryResult
from autopilot.adapters.batch.htcondor.node_state import NodeState
from autopilot.adapters.batch.kernel_events import wait_and_clear
from autopilot.machines.cues import Drained

RECHECK_DELAY_S = 1.0  # the startd has gone, condor_master is about to notice
DEBOUNCE_S = 0.3  # from an event to the observation that it causes, so that a burst causes one


class DrainRunner:
    """The drain of this node."""

    def __init__(self, node_state: NodeState) -> None:
        self._node_state = node_state
        self._requested = asyncio.Event()
        self._reason = ""
        self.state = drain_steps.DrainState()
        self.node_changed = asyncio.Event()

    def begin(self, reason: str) -> None:
        """Begin, once; `reason` goes into HTCondor's logs."""
        if not self._requested.is_set():
            self._reason = reason
            self._node_state.draining = True
            self._requested.set()

    async def run(self) -> None:
        """Wait for `begin`, empty the node and report Drained."""
        await self._requested.wait()
        while True:
            snapshot = await self._take_snapshot()
            self.state, action = drain_steps.decide(self.state, snapshot)
            if action is drain_steps.DrainAction.DONE:
                self._node_state.report(Drained())
                return
            if action is drain_steps.DrainAction.PEACEFUL:
                await self._node_state.commands.stop_startd_peacefully()
            elif action is drain_steps.DrainAction.DRAIN:
                await self._node_state.commands.drain_master(self._reason)
            await self._pause(snapshot, action)

    async def _pause(self, snapshot: drain_steps.NodeSnapshot, action: drain_steps.DrainAction) -> None:
        if action is not drain_steps.DrainAction.RECHECK:
            max_wait_s = drain_steps.compute_retry_delay(self.state, random.random())
        elif snapshot.startd_running or snapshot.starter_count:
            max_wait_s = self._node_state.plan.poll
        else:
            max_wait_s = RECHECK_DELAY_S
        await wait_and_clear(self.node_changed, max_wait_s)
        await asyncio.sleep(DEBOUNCE_S)

    async def _take_snapshot(self) -> drain_steps.NodeSnapshot:
        node = self._node_state
        node.refresh(asyncio.get_running_loop().time())
        if node.daemons.master is None:
            states, slots = dict[str, Value](), QueryResult(None)
        else:
            states, slots = await asyncio.gather(node.commands.query_master(), self._query_slots())
        node.refresh(asyncio.get_running_loop().time())
        daemons = node.daemons
        return drain_steps.NodeSnapshot(
            master_running=daemons.master is not None,
            startd_state=str(states.get("STARTD", "")).lower(),
            startd_running=daemons.startd is not None,
            retiring=None if slots.ads is None else any(map(is_retiring, slots.ads)),
            drained=slots.ads is not None and bool(slots.ads) and all(map(is_drained, slots.ads)),
            starter_count=len(daemons.starters),
        )

    async def _query_slots(self) -> QueryResult:
        address = self._node_state.read_startd_address()
        if address is None or self._node_state.daemons.startd is None:
            return QueryResult(None, "no startd")
        return await self._node_state.commands.query_slots(address)


def is_retiring(slot: Ad) -> bool:
    """Return True for a slot that takes no new job: by its activity (sequence B), its state or its flag (A)."""
    return slot.get("Activity") == "Retiring" or slot.get("State") == "Drained" or slot.get("Draining") is True


def is_drained(slot: Ad) -> bool:
    """Return True for a slot where no job runs and none will."""
    return slot.get("State") == "Drained" or (
        slot.get("Draining") is True and slot.get("State") in ("Unclaimed", "Owner")
    )
