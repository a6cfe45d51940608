"""Runs the drain that `drain` decides: look, act, wait, look again, until nothing runs and nothing can start."""

from __future__ import annotations

import asyncio
import random

from autopilot.adapters.htcondor import drain
from autopilot.adapters.htcondor.classads import Ad, Value
from autopilot.adapters.htcondor.picture import Picture, woken
from autopilot.adapters.htcondor.tools import Answer
from autopilot.machines.cues import Drained

SOON = 1.0  # s; the startd has gone, condor_master is about to notice
SETTLE = 0.3  # s; between events and the look they cause, so that a burst is one look


class Emptying:
    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._asked = asyncio.Event()
        self._reason = ""
        self.state = drain.Drain()
        self.changed = asyncio.Event()

    def begin(self, reason: str) -> None:
        if not self._asked.is_set():
            self._reason = reason
            self._picture.draining = True
            self._asked.set()

    async def run(self) -> None:
        """Waits for `begin`, empties the node, reports Drained, ends."""
        await self._asked.wait()
        while True:
            sight = await self._sight()
            self.state, order = drain.decide(self.state, sight)
            if order is drain.Order.DONE:
                self._picture.report(Drained())
                return
            if order is drain.Order.PEACEFUL:
                await self._picture.tools.off_peacefully()
            elif order is drain.Order.DRAIN:
                await self._picture.tools.off_drained(self._reason)
            await self._pause(sight, order)

    async def _pause(self, sight: drain.Sight, order: drain.Order) -> None:
        if order is not drain.Order.LOOK:
            within = drain.pause(self.state, random.random())
        elif sight.startd_process or sight.starters:
            within = self._picture.plan.poll
        else:
            within = SOON
        await woken(self.changed, within)
        await asyncio.sleep(SETTLE)

    async def _sight(self) -> drain.Sight:
        picture = self._picture
        picture.look(asyncio.get_running_loop().time())
        if picture.daemons.master is None:
            who, slots = dict[str, Value](), Answer(None)
        else:
            who, slots = await asyncio.gather(picture.tools.who(), self._slots())
        picture.look(asyncio.get_running_loop().time())
        daemons = picture.daemons
        return drain.Sight(
            master=daemons.master is not None,
            startd=str(who.get("STARTD", "")).lower(),
            startd_process=daemons.startd is not None,
            retiring=None if slots.ads is None else any(map(retiring, slots.ads)),
            drained=slots.ads is not None and bool(slots.ads) and all(map(drained, slots.ads)),
            starters=len(daemons.starters),
        )

    async def _slots(self) -> Answer:
        address = self._picture.address()
        if address is None or self._picture.daemons.startd is None:
            return Answer(None, "no startd")
        return await self._picture.tools.slots(address)


def retiring(slot: Ad) -> bool:
    """Peacefully (sequence B) by its activity, drained (A) by its state or the Draining flag."""
    return slot.get("Activity") == "Retiring" or slot.get("State") == "Drained" or slot.get("Draining") is True


def drained(slot: Ad) -> bool:
    """Nothing runs on it, and nothing will."""
    return slot.get("State") == "Drained" or (
        slot.get("Draining") is True and slot.get("State") in ("Unclaimed", "Owner")
    )
