"""Runs the drain that `drain` decides: look, act, wait, look again, until nothing runs and nothing can start."""

from __future__ import annotations

import asyncio
import random

from autopilot.adapters.batch.htcondor import drain_steps
from autopilot.adapters.batch.htcondor.classads import Ad, Value
from autopilot.adapters.batch.htcondor.condor_commands import QueryResult
from autopilot.adapters.batch.htcondor.node_state import NodeState, wait_and_clear
from autopilot.machines.cues import Drained

RECHECK_DELAY_S = 1.0  # s; the startd has gone, condor_master is about to notice
DEBOUNCE_S = 0.3  # s; between events and the look they cause, so that a burst is one look


class DrainRunner:
    def __init__(self, node_state: NodeState) -> None:
        self._node_state = node_state
        self._requested = asyncio.Event()
        self._reason = ""
        self.state = drain_steps.DrainState()
        self.node_changed = asyncio.Event()

    def begin(self, reason: str) -> None:
        if not self._requested.is_set():
            self._reason = reason
            self._node_state.draining = True
            self._requested.set()

    async def run(self) -> None:
        """Waits for `begin`, empties the node, reports Drained, ends."""
        await self._requested.wait()
        while True:
            sight = await self._take_snapshot()
            self.state, order = drain_steps.decide(self.state, sight)
            if order is drain_steps.DrainAction.DONE:
                self._node_state.report(Drained())
                return
            if order is drain_steps.DrainAction.PEACEFUL:
                await self._node_state.commands.stop_startd_peacefully()
            elif order is drain_steps.DrainAction.DRAIN:
                await self._node_state.commands.drain_master(self._reason)
            await self._pause(sight, order)

    async def _pause(self, snapshot: drain_steps.NodeSnapshot, action: drain_steps.DrainAction) -> None:
        if action is not drain_steps.DrainAction.RECHECK:
            within = drain_steps.compute_retry_delay(self.state, random.random())
        elif snapshot.startd_running or snapshot.starter_count:
            within = self._node_state.plan.poll
        else:
            within = RECHECK_DELAY_S
        await wait_and_clear(self.node_changed, within)
        await asyncio.sleep(DEBOUNCE_S)

    async def _take_snapshot(self) -> drain_steps.NodeSnapshot:
        picture = self._node_state
        picture.refresh(asyncio.get_running_loop().time())
        if picture.daemons.master is None:
            who, slots = dict[str, Value](), QueryResult(None)
        else:
            who, slots = await asyncio.gather(picture.commands.query_master(), self._query_slots())
        picture.refresh(asyncio.get_running_loop().time())
        daemons = picture.daemons
        return drain_steps.NodeSnapshot(
            master_running=daemons.master is not None,
            startd_state=str(who.get("STARTD", "")).lower(),
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
    """Peacefully (sequence B) by its activity, drained (A) by its state or the Draining flag."""
    return slot.get("Activity") == "Retiring" or slot.get("State") == "Drained" or slot.get("Draining") is True


def is_drained(slot: Ad) -> bool:
    """Nothing runs on it, and nothing will."""
    return slot.get("State") == "Drained" or (
        slot.get("Draining") is True and slot.get("State") in ("Unclaimed", "Owner")
    )
