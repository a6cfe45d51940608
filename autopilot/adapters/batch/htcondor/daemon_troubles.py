"""Find the daemons that keep a node from working although its startd runs: stopped ones, and missing helpers. Pure.

condor_master restarts a helper that died after 10 s or more, and takes no note of one that is stopped. A node without
condor_shared_port answers nobody. A node without condor_procd can end no job: its payloads seem to run for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autopilot.adapters.batch.conditions import Conditions
from autopilot.adapters.batch.htcondor import startd_guard
from autopilot.adapters.batch.htcondor.daemons import Daemons

MISSING_PATIENCE_S = 2.0  # condor_master ends its helpers shortly before itself
STOPPED_PATIENCE_S = 5.0  # a SIGSTOP that a SIGCONT follows at once is nobody's trouble


@dataclass(frozen=True, slots=True)
class HelpersSeen:
    """The helpers that this condor_master has run; an image may configure it without them."""

    shared_port: bool = False
    procd: bool = False

    def update(self, daemons: Daemons) -> HelpersSeen:
        """Return the helpers seen so far; a node without a master starts from the beginning."""
        if daemons.master is None:
            return HelpersSeen()
        return HelpersSeen(self.shared_port or daemons.shared_port is not None, self.procd or daemons.procd is not None)


def update_conditions(
    conditions: Conditions, daemons: Daemons, seen: HelpersSeen, now: float, *, evicting: bool
) -> tuple[int, ...]:
    """Take in one observation, and return the pids to continue.

    Args:
        conditions: The node's conditions.
        daemons: The daemons at this moment.
        seen: The helpers that this condor_master has run.
        now: The loop's time.
        evicting: The node is being stopped: condor_master ends its helpers itself.
    """
    missing = None if evicting else describe_missing(daemons, seen)
    conditions.update("helper-down", missing, now, patience=MISSING_PATIENCE_S)
    conditions.update("daemon-stopped", describe_stopped(daemons), now, patience=STOPPED_PATIENCE_S)
    return tuple(pid for _, pid in list_stopped(daemons)) if conditions.is_active("daemon-stopped") else ()


def list_stopped(daemons: Daemons) -> tuple[tuple[str, int], ...]:
    """Return the names and pids of the starters and helpers that are stopped.

    The master and the startd are not among them: their silence is a condition of its own.
    """
    named = [
        ("condor_shared_port", daemons.shared_port),
        ("condor_procd", daemons.procd),
        (startd_guard.NAME, daemons.guard),
    ]
    named += [("condor_starter", pid) for pid in daemons.starters]
    return tuple((name, pid) for name, pid in named if pid is not None and pid in daemons.stopped)


def describe_stopped(daemons: Daemons) -> str | None:
    """Return one sentence about the starters and helpers that are stopped; None without any."""
    stopped = list_stopped(daemons)
    if not stopped:
        return None
    named = ", ".join(f"{name} (pid {pid})" for name, pid in stopped)
    return f"{named} was stopped by SIGSTOP: the node cannot end its jobs well; sending SIGCONT"


def describe_missing(daemons: Daemons, seen: HelpersSeen) -> str | None:
    """Return one sentence about the helpers that condor_master has lost; None without any."""
    if daemons.master is None:
        return None
    named = " and ".join(_list_missing(daemons, seen))
    return f"{named} died or was killed; condor_master starts it again after a delay; see MasterLog" if named else None


def _list_missing(daemons: Daemons, seen: HelpersSeen) -> Iterator[str]:
    if seen.shared_port and daemons.shared_port is None:
        yield "condor_shared_port"
    if seen.procd and daemons.procd is None:
        yield "condor_procd"
