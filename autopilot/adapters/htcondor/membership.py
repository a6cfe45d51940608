"""Is this node in its pool? Local checks stay green without it (a bad token, a dead manager), so the collector is
asked.

Seldom, when all is well: every five minutes, and at once when the startd's connection to the collector is gone. A
node the collector does not know is made to send its ads at once (`condor_reconfig -daemon startd`; by itself it waits
up to 300 s).
"""

from __future__ import annotations

import asyncio
import random

from autopilot.adapters.htcondor.conditions import Spacing
from autopilot.adapters.htcondor.links import collectors, connected
from autopilot.adapters.htcondor.picture import Picture
from autopilot.adapters.htcondor.tools import QUERY_LIMIT

EVERY = 300.0  # s between questions while we are in
FRESH = 5.0  # s an answer may be passed on to somebody else who asks
PATIENCE = 15.0  # s for a new startd's first ad


class Membership:
    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.joined: bool | None = None  # None: not asked yet
        self.said = "the collector has not been asked yet"
        self._asked_at = float("-inf")
        self._while_in = Spacing(EVERY, EVERY)
        self._while_out = Spacing(2.0, 15.0)
        self._reconfigure = Spacing(10.0, 300.0)

    def forget(self) -> None:
        """A new startd has to join anew."""
        self.joined = None
        self._while_in, self._while_out = self._while_in.reset(), self._while_out.reset()

    async def ask_if_due(self, draw: float) -> None:
        now = asyncio.get_running_loop().time()
        spacing = self._while_in if self.joined else self._while_out
        if spacing.may(now) or (self.joined and self._cut_off()):
            await self.ask(QUERY_LIMIT, draw)

    def _cut_off(self) -> bool:
        pid = self._picture.daemons.startd
        ports = frozenset(port for _, port in collectors(self._picture.settings.get("COLLECTOR_HOST", "")))
        return pid is not None and bool(ports) and connected(pid, ports) is False

    async def verdict(self, limit: float) -> tuple[bool, str]:
        """For a health check: an answer of at most FRESH seconds, or a new one."""
        if asyncio.get_running_loop().time() - self._asked_at > FRESH:
            await self.ask(limit, random.random())
        return self.joined is True, self.said

    async def ask(self, limit: float, draw: float) -> None:
        loop, picture = asyncio.get_running_loop(), self._picture
        began, address = loop.time(), picture.address()
        if address is None:
            self.joined, self.said = False, "condor_startd does not run, so the pool cannot know it"
            return
        answer = await picture.tools.known_to_collector(address, limit)
        now = self._asked_at = loop.time()
        if answer.ads:
            self._welcome(now, draw, str(answer.ads[0].get("Name", "")))
            return
        self.joined = False
        self._while_out = self._while_out.done(now, draw)
        if answer.ads is None and not answer.refused:
            self.said = f"cannot reach the pool's collector: {answer.problem}; check CONDOR_HOST and the network"
            picture.troubles.note("manager-unreachable", self.said, now)
        else:
            picture.troubles.note("manager-unreachable", None, now)
            await self._unknown(now, draw, limit - (now - began))

    def _welcome(self, now: float, draw: float, name: str) -> None:
        self.joined, self.said = True, f"the collector knows {name}"
        self._while_out, self._reconfigure = self._while_out.reset(), self._reconfigure.reset()
        self._while_in = self._while_in.done(now, draw)
        self._picture.troubles.note("manager-unreachable", None, now)
        self._picture.troubles.note("pool-membership", None, now)

    async def _unknown(self, now: float, draw: float, left: float) -> None:
        picture = self._picture
        refusal = await picture.tools.may_advertise(max(1.0, left))
        why = "has no ad of ours"
        if refusal:
            why = f"refuses our ads ({refusal}): is the token of this pool, and still valid?"
        self.said = f"this node is not in the pool: the collector {why}"
        picture.troubles.note("pool-membership", self.said, now, patience=PATIENCE)
        if self._reconfigure.may(now) and now - picture.started > 5.0:
            self._reconfigure = self._reconfigure.done(now, draw)
            await picture.tools.reconfigure_startd()
