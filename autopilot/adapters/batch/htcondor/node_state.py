"""The live picture of the node that all parts of the adapter share: where things are, what runs, what was last
heard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from autopilot.adapters.batch.htcondor.classads import Value
from autopilot.adapters.batch.htcondor.conditions import Conditions, StartdStarts
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.daemons import Daemons, find_daemons, find_payloads
from autopilot.adapters.batch.htcondor.master_heartbeat import Heartbeat
from autopilot.adapters.batch.htcondor.settings import HtcondorSettings
from autopilot.machines.cues import Cue, PayloadsObserved

DEFAULT_DIRECTORIES = {"EXECUTE": "/var/lib/condor/execute", "LOG": "/var/log/condor"}


class NodeState:
    def __init__(self, plan: HtcondorSettings, commands: CondorCommands, report: Callable[[Cue], None]) -> None:
        self.plan, self.commands, self.report = plan, commands, report
        self.settings: Mapping[str, str] = DEFAULT_DIRECTORIES
        self.conditions = Conditions(report)
        self.leader_pid: int | None = None  # the master's job: condor_master, or what runs it
        self.started_at = 0.0  # when, on the loop's clock
        self.heartbeat = Heartbeat()
        self.daemons = Daemons()
        self.startd_appeared = False
        self.startd_starts = StartdStarts()
        self.payloads: tuple[str, ...] | None = None  # None: not looked yet
        self._payload_names: Mapping[int, str] = {}  # starter -> its job
        self.slots: tuple[Mapping[str, Value], ...] = ()
        self.draining = False
        self.changed = asyncio.Event()  # something ended or began: look now
        self._nameless_starters: frozenset[int] = frozenset()

    def get_directory(self, name: str) -> Path:
        return Path(self.settings.get(name) or DEFAULT_DIRECTORIES[name])

    def read_startd_address(self) -> str | None:
        """The startd's, from the file it writes at its start and removes at its end."""
        path = self.settings.get("STARTD_ADDRESS_FILE") or self.get_directory("LOG") / ".startd_address"
        try:
            with open(path) as file:
                return file.readline(4096).strip() or None
        except OSError:
            return None

    def refresh(self, now: float) -> None:
        """The process table, the job ads; tells the core when the payloads changed."""
        self.daemons = find_daemons(self.leader_pid, os.getpid())
        self.startd_appeared = self.startd_appeared or self.daemons.startd is not None
        self.startd_starts = self.startd_starts.record(self.daemons.startd, now)
        self._payload_names, self._nameless_starters = find_payloads(
            self.get_directory("EXECUTE"), self.daemons.starters, self._payload_names, self._nameless_starters
        )
        seen = tuple(sorted(self._payload_names.values()))
        if seen != self.payloads:
            self.payloads = seen
            self.report(PayloadsObserved(seen))

    def is_unsettled(self, now: float) -> bool:
        """Look again soon: a starter has no job ad yet, or the master is only starting."""
        return bool(self._nameless_starters) or (self.leader_pid is not None and now - self.started_at < 20.0)

    def reset_daemons(self) -> None:
        self.leader_pid = None
        self.heartbeat = Heartbeat()
        self.slots = ()
        self.startd_appeared = False
        self.startd_starts = StartdStarts()


async def wait_and_clear(event: asyncio.Event, max_wait_s: float) -> None:
    """Wait for the event, at most `within` seconds, and clear it."""
    try:
        async with asyncio.timeout(max_wait_s):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
