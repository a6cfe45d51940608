"""Hold the state of the node that all parts of this package share: directories, processes, the last answers."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from autopilot.adapters.batch.conditions import Conditions
from autopilot.adapters.batch.htcondor.classads import Value
from autopilot.adapters.batch.htcondor.condor_commands import CondorCommands
from autopilot.adapters.batch.htcondor.daemon_troubles import HelpersSeen, describe_missing
from autopilot.adapters.batch.htcondor.daemons import Daemons, find_daemons, find_payloads, read_payload_id
from autopilot.adapters.batch.htcondor.htcondor_settings import HtcondorSettings
from autopilot.adapters.batch.htcondor.master_heartbeat import Heartbeat
from autopilot.adapters.batch.htcondor.payload_ends import (
    EndingPayload,
    Loss,
    collect_endings,
    has_starter_directory,
    judge_endings,
    read_active_slots,
    read_starter_ends,
)
from autopilot.adapters.batch.htcondor.payload_history import PayloadHistory
from autopilot.adapters.batch.htcondor.payload_limit import PayloadCount
from autopilot.adapters.batch.htcondor.startd_health import StartdStarts
from autopilot.machines.cues import Cue, PayloadEndsFound, PayloadsCounted, PayloadsCrashed, PayloadsObserved
from autopilot.safe_files import read_file

MAX_ADDRESS_BYTES = 4096
STARTUP_S = 20.0  # of condor_master and its daemons
DEFAULT_STARTD_TIMEOUT_S = 300.0
SHADOW_DELAY_S = 0.3  # measured: 0.06 s from a starter's end to its job being Idle
SHADOW_TIMEOUT_S = 3.0  # for a shadow on a busy machine, or one that the network keeps from the startd
DEFAULT_DIRECTORIES = {"EXECUTE": "/var/lib/condor/execute", "LOG": "/var/log/condor"}


class NodeState:
    """The node as it was last observed."""

    def __init__(self, plan: HtcondorSettings, commands: CondorCommands, report: Callable[[Cue], None]) -> None:
        self.plan, self.commands, self.report = plan, commands, report
        self.settings: Mapping[str, str] = DEFAULT_DIRECTORIES  # HTCondor's own, by name
        self.conditions = Conditions(report)
        self.token_directory: Path | None = None  # where this pool needs a token
        self.leader_pid: int | None = None  # the job's process: condor_master, or a wrapper that runs it
        self.started_at = 0.0  # on the loop's clock
        self.heartbeat = Heartbeat()
        self.daemons = Daemons()
        self.startd_appeared = False
        self.helpers_seen = HelpersSeen()
        self.startd_starts = StartdStarts()
        self.payloads: tuple[str, ...] | None = None  # None: not observed yet
        self._payload_names: Mapping[int, str] = {}  # starter -> its job
        self.payload_count = PayloadCount()
        self._starters_of_startd: frozenset[int] = frozenset()  # all that had a payload under the present startd
        self._earlier_starters: frozenset[int] = frozenset()  # they outlive the startd that counted them
        self.has_payload_limit = False  # each start of a payload is asked for at once
        self.slots: tuple[Mapping[str, Value], ...] = ()
        self.draining = False
        self.evicting = False  # we give the payloads back: their starters end at our signals
        self._crash = ""  # of the startd or the master, with its pid; not yet handled
        self._endings: tuple[EndingPayload, ...] = ()
        self._history = PayloadHistory()
        self._lost_starters: frozenset[int] = frozenset()  # still alive, their payloads are reported as lost
        self.changed = asyncio.Event()  # a process or a directory began or ended: observe now
        self._nameless_starters: frozenset[int] = frozenset()

    def get_directory(self, name: str) -> Path:
        """Return HTCondor's EXECUTE or LOG."""
        return Path(self.settings.get(name) or DEFAULT_DIRECTORIES[name])

    def read_startd_address(self) -> str | None:
        """Return the startd's address, from the file that it writes at its start and removes at its end."""
        path = self.settings.get("STARTD_ADDRESS_FILE") or self.get_directory("LOG") / ".startd_address"
        try:
            return read_file(path, MAX_ADDRESS_BYTES).decode(errors="replace").partition("\n")[0].strip() or None
        except OSError:
            return None

    @property
    def startd_timeout(self) -> float:
        """Seconds after which a startd that does not wake up is killed: STARTD_NOT_RESPONDING_TIMEOUT, 300 without it.

        A value that is no positive number, such as an expression of HTCondor's, means never.
        """
        text = self.settings.get("STARTD_NOT_RESPONDING_TIMEOUT")
        if text is None:
            return DEFAULT_STARTD_TIMEOUT_S
        return float(text) if text.isascii() and text.isdigit() and int(text) > 0 else math.inf

    def _get_startd_log(self) -> Path:
        return Path(self.settings.get("STARTD_LOG") or self.get_directory("LOG") / "StartLog")

    def is_startd_needed(self, waited_s: float) -> bool:
        """Return True while a shadow may still ask the startd for the end of its job.

        Args:
            waited_s: Seconds since the last starter ended.
        """
        if waited_s < SHADOW_DELAY_S:
            return True
        return waited_s < SHADOW_TIMEOUT_S and bool(read_active_slots(self._get_startd_log()))

    def refresh(self, now: float, *, is_final: bool = False) -> None:
        """Read the process table and the job ads; report the payloads to the core when they changed.

        Args:
            now: The loop's time.
            is_final: condor_master has ended, and the life may end with it.
        """
        self.observe_daemons()
        self.startd_appeared = self.startd_appeared or self.daemons.startd is not None
        self.helpers_seen = self.helpers_seen.update(self.daemons)
        self.startd_starts = self.startd_starts.record(self.daemons.startd, now)
        before = self._payload_names
        self._payload_names, self._nameless_starters = find_payloads(
            self.get_directory("EXECUTE"), self.daemons.starters, self._payload_names, self._nameless_starters
        )
        self._report_losses(before, now, is_final)
        self._report_ends()
        payloads = tuple(sorted(self._payload_names.values()))
        if payloads != self.payloads:
            self.payloads = payloads
            self.report(PayloadsObserved(payloads))
        self._count_starters()

    def _count_starters(self) -> None:
        """Count the starters that have, or had, a payload under the present startd.

        A startd that crashed at once after a start has not told its count, so starters that outlive it count for it.
        """
        startd, starters = self.daemons.startd or self.payload_count.startd, frozenset(self._payload_names)
        if startd is None:
            return
        if startd != self.payload_count.startd:
            self._earlier_starters, self._starters_of_startd = self._starters_of_startd & starters, frozenset()
        self._starters_of_startd |= starters - self._earlier_starters
        self.record_job_starts(startd, len(self._starters_of_startd))

    def record_job_starts(self, startd: int, count: int) -> None:
        """Take note that the startd with this pid has started so many jobs, and report the payloads of this life."""
        before, self.payload_count = self.payload_count.total, self.payload_count.record(startd, count)
        if self.payload_count.total != before:
            self.report(PayloadsCounted(self.payload_count.total))

    def get_payload_pids(self) -> dict[str, int]:
        """Return the starter of each payload that was observed last."""
        return {name: starter for starter, name in self._payload_names.items()}

    def read_payload_id(self, starter: int) -> str | None:
        """Return the id of a starter's job: the observed one, else that of its job ad now; None without."""
        observed = self._payload_names.get(starter)
        if observed is not None and starter not in self._nameless_starters:
            return observed
        return read_payload_id(self.get_directory("EXECUTE"), starter) or observed

    def observe_daemons(self) -> Daemons:
        """Read the process table; take note of a startd that crashed since the last observation.

        A startd that ends in order removes its address file before, and has told the schedd by then.
        """
        before, self.daemons = self.daemons, find_daemons(self.leader_pid, os.getpid())
        if before.startd not in (None, self.daemons.startd) and self.read_startd_address() is not None:
            self._crash = f"condor_startd (pid {before.startd})"
        return self.daemons

    def record_master_end(self, now: float) -> None:
        """Take note that condor_master has ended; starters that outlive it mean that it was no end in order."""
        master = self.daemons.master
        self.observe_daemons()
        if self.daemons.starters and not self.evicting:
            self._crash = self._crash or f"condor_master (pid {master})"
        self.refresh(now, is_final=True)

    def _report_losses(self, names: Mapping[int, str], now: float, is_final: bool) -> None:
        """Report the payloads that did not end in order; `names` are those of the observation before."""
        names = {pid: name for pid, name in names.items() if pid not in self._lost_starters}
        starters, execute = self.daemons.starters, self.get_directory("EXECUTE")
        endings = collect_endings(self._endings, names, starters, crash=self._crash, now=now)
        self._crash = ""
        ends = read_starter_ends(self._get_startd_log()) if endings else {}
        losses, self._endings = judge_endings(
            endings, starters, ends, lambda pid: has_starter_directory(execute, pid), now,
            evicting=self.evicting, is_final=is_final,
        )  # fmt: skip
        waiting = {ending.starter for ending in self._endings}
        judged = {ending.starter for ending in endings} - waiting
        self._lost_starters = (self._lost_starters | judged) & frozenset(starters)
        self._report_by_cause(losses)

    def _report_ends(self) -> None:
        path = self.settings.get("STARTD_HISTORY") or self.get_directory("LOG") / "startd_history"
        ends = self._history.read_new(Path(path))
        if ends:
            failed = tuple(end.name for end in ends if end.failed_fast)
            self.report(PayloadEndsFound(tuple(end.name for end in ends), failed))

    def _report_by_cause(self, losses: tuple[Loss, ...]) -> None:
        for cause in dict.fromkeys(loss.cause for loss in losses):
            self.report(PayloadsCrashed(tuple(sorted(loss.name for loss in losses if loss.cause == cause)), cause))

    def is_unsettled(self, now: float) -> bool:
        """Return True when the next observation is due soon.

        That is when a starter has no job ad yet, the end of a payload is not judged yet, a daemon is stopped or
        missing, or the master only starts.
        """
        if self._nameless_starters or self._endings or self.daemons.stopped:
            return True
        if describe_missing(self.daemons, self.helpers_seen) is not None:
            return True
        return self.leader_pid is not None and now - self.started_at < STARTUP_S

    def reset_daemons(self) -> None:
        """Forget the daemons of a condor_master that has ended."""
        self.leader_pid = None
        self.heartbeat = Heartbeat()
        self.slots = ()
        self.startd_appeared = False
        self.helpers_seen = HelpersSeen()
        self.startd_starts = StartdStarts()
