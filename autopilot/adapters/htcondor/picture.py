"""The live picture of the node that all parts of the adapter share: where things are, what runs, what was last
heard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from autopilot.adapters.htcondor.classads import Value
from autopilot.adapters.htcondor.conditions import Restarts, Troubles
from autopilot.adapters.htcondor.daemons import Daemons, find_daemons, payloads
from autopilot.adapters.htcondor.notify import Heartbeat
from autopilot.adapters.htcondor.tools import Tools
from autopilot.machines.cues import Cue, PayloadsSeen
from autopilot.spec.plan import Htcondor

DEFAULTS = {"EXECUTE": "/var/lib/condor/execute", "LOG": "/var/log/condor"}


class Picture:
    def __init__(self, plan: Htcondor, tools: Tools, report: Callable[[Cue], None]) -> None:
        self.plan, self.tools, self.report = plan, tools, report
        self.settings: Mapping[str, str] = DEFAULTS
        self.troubles = Troubles(report)
        self.leader: int | None = None  # the master's job: condor_master, or what runs it
        self.started = 0.0  # when, on the loop's clock
        self.heartbeat = Heartbeat()
        self.daemons = Daemons()
        self.startd_seen = False
        self.restarts = Restarts()
        self.payloads: tuple[str, ...] | None = None  # None: not looked yet
        self._named: Mapping[int, str] = {}  # starter -> its job
        self.slots: tuple[Mapping[str, Value], ...] = ()
        self.draining = False
        self.changed = asyncio.Event()  # something ended or began: look now
        self._nameless: frozenset[int] = frozenset()

    def folder(self, name: str) -> Path:
        return Path(self.settings.get(name) or DEFAULTS[name])

    def address(self) -> str | None:
        """The startd's, from the file it writes at its start and removes at its end."""
        path = self.settings.get("STARTD_ADDRESS_FILE") or self.folder("LOG") / ".startd_address"
        try:
            with open(path) as file:
                return file.readline(4096).strip() or None
        except OSError:
            return None

    def look(self, now: float) -> None:
        """The process table, the job ads; tells the core when the payloads changed."""
        self.daemons = find_daemons(self.leader, os.getpid())
        self.startd_seen = self.startd_seen or self.daemons.startd is not None
        self.restarts = self.restarts.seen(self.daemons.startd, now)
        self._named, self._nameless = payloads(
            self.folder("EXECUTE"), self.daemons.starters, self._named, self._nameless
        )
        seen = tuple(sorted(self._named.values()))
        if seen != self.payloads:
            self.payloads = seen
            self.report(PayloadsSeen(seen))

    def unsettled(self, now: float) -> bool:
        """Look again soon: a starter has no job ad yet, or the master is only starting."""
        return bool(self._nameless) or (self.leader is not None and now - self.started < 20.0)

    def forget_daemons(self) -> None:
        self.leader = None
        self.heartbeat = Heartbeat()
        self.slots = ()
        self.startd_seen = False
        self.restarts = Restarts()


async def woken(event: asyncio.Event, within: float) -> None:
    """Wait for the event, at most `within` seconds, and clear it."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
