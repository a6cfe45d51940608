"""Judge how payloads ended: in order, or lost because their starter or startd was killed or crashed.

Theory of operation. We are not the parent of a starter, so nobody tells us its status. Two witnesses do. A startd that
lives writes one line into StartLog for each starter that ends, with its status or signal, and tells the schedd. A
startd that ends in order first ends its starters and then removes its address file; one that is killed leaves the file
behind, and condor_master kills its starters, which then tell nobody. A starter that ended in order has removed its
directory in EXECUTE; one that was killed has not.

Reading StartLog apart, everything here is pure.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from autopilot.safe_files import read_file

MAX_LOG_BYTES = 256 * 1024  # of StartLog, from its end
WITNESS_TIMEOUT_S = 20.0  # for the startd to write its line; one that is stopped or waits for the pool writes none
_STARTER_END = re.compile(r"Starter pid (\d+) (?:died on signal (\d+)|exited with status (\d+))")
_CLAIM_CHANGE = re.compile(
    r"(\S+): (?:(State change: claim-activation protocol successful)|Called deactivate_claim\(\)"
    r"|State change: received RELEASE_CLAIM command|Changing state[^>\n]*-> (?:Owner|Unclaimed|Delete))"
)


@dataclass(frozen=True, slots=True)
class StarterEnd:
    """The end of a starter, as its startd saw it: by a signal, or with a status."""

    signal: int | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class EndingPayload:
    """A payload whose end has to be judged.

    Attributes:
        starter: The pid of its starter.
        name: The payload's id.
        deadline: Moment from which no witness is waited for any more.
        crash: The daemon above it that was killed or crashed, with its pid; "" without such a crash.
        outlived: Its starter lived on after that crash: its end is a consequence, however orderly it is.
    """

    starter: int
    name: str
    deadline: float
    crash: str = ""
    outlived: bool = False


@dataclass(frozen=True, slots=True)
class Loss:
    """A payload that did not end in order, and the cause as one clause."""

    name: str
    cause: str


def parse_starter_ends(text: str) -> dict[int, StarterEnd]:
    """Return the ends of starters in a part of StartLog, by pid; the last line about a pid counts."""
    ends = {}
    for pid, by_signal, status in _STARTER_END.findall(text):
        ends[int(pid)] = StarterEnd(int(by_signal), None) if by_signal else StarterEnd(None, int(status))
    return ends


def find_active_slots(text: str) -> frozenset[str]:
    """Return the slots that run a job by the word of its shadow, from a part of StartLog.

    A slot is active from its activation until the shadow deactivates or releases the claim, even when its starter has
    ended before: a shadow whose starter crashed asks the startd, and only the startd's answer makes the job Idle.
    """
    by_slot = dict(_CLAIM_CHANGE.findall(text))
    return frozenset(slot for slot, activation in by_slot.items() if activation)


def read_active_slots(path: Path) -> frozenset[str]:
    """Return the active slots by the newest part of StartLog; empty when it cannot be read."""
    try:
        return find_active_slots(read_file(path, MAX_LOG_BYTES, from_end=True).decode(errors="replace"))
    except OSError:
        return frozenset()


def read_starter_ends(path: Path) -> dict[int, StarterEnd]:
    """Return the ends of starters in the newest part of StartLog; empty when it cannot be read."""
    try:
        return parse_starter_ends(read_file(path, MAX_LOG_BYTES, from_end=True).decode(errors="replace"))
    except OSError:
        return {}


def collect_endings(
    endings: Iterable[EndingPayload],
    names: Mapping[int, str],
    starters: Iterable[int],
    *,
    crash: str,
    now: float,
) -> tuple[EndingPayload, ...]:
    """Return the payloads to judge after an observation.

    Args:
        endings: Those of the observation before.
        names: The payloads of the observation before, by their starters.
        starters: The starters that live.
        crash: The startd or master that was killed or crashed since then, with its pid: it concerns all payloads.
        now: The loop's time.
    """
    by_starter = {ending.starter: ending for ending in endings}
    living = set(starters)
    for starter, name in names.items():
        if starter not in by_starter and (crash or starter not in living):
            by_starter[starter] = EndingPayload(starter, name, now + WITNESS_TIMEOUT_S)
    if crash:
        by_starter = {
            pid: ending if ending.crash else replace(ending, crash=crash, outlived=pid in living)
            for pid, ending in by_starter.items()
        }
    return tuple(by_starter.values())


def judge_endings(
    endings: Iterable[EndingPayload],
    starters: Iterable[int],
    ends: Mapping[int, StarterEnd],
    has_directory: Callable[[int], bool],
    now: float,
    *,
    evicting: bool = False,
    is_final: bool = False,
) -> tuple[tuple[Loss, ...], tuple[EndingPayload, ...]]:
    """Return the payloads that were lost, and those that cannot be judged yet.

    Args:
        endings: The payloads to judge.
        starters: The starters that live.
        ends: The ends that StartLog tells.
        has_directory: Tells whether a starter's directory in EXECUTE is still there.
        now: The loop's time.
        evicting: True while we give the payloads back: a starter that crashes at our own signal belongs to that.
        is_final: condor_master has ended, and the life may end with it: the payloads of a crash are judged now.
    """
    losses, waiting, living = [], [], set(starters)
    for ending in endings:
        end = ends.get(ending.starter)
        if ending.starter in living and not (is_final and ending.crash):
            waiting.append(ending)
        elif ending.starter in living:
            losses.append(Loss(ending.name, _describe_crash(ending.crash, left_behind=False)))
        elif ending.crash and (ending.outlived or end is None):
            losses.append(Loss(ending.name, _describe_crash(ending.crash, left_behind=has_directory(ending.starter))))
        elif end is not None:
            if end.signal is not None and (end.signal == signal.SIGKILL or not evicting):
                losses.append(Loss(ending.name, _describe_starter_end(ending.starter, end.signal)))
        elif now < ending.deadline:
            waiting.append(ending)
    return tuple(losses), tuple(waiting)


def _describe_starter_end(starter: int, number: int) -> str:
    remedy = "its startd tells their queue, unless it ends at once"
    return f"condor_starter (pid {starter}) was ended by signal {number}; {remedy}"


def _describe_crash(crash: str, *, left_behind: bool) -> str:
    if left_behind:
        return f"{crash} crashed or was killed; their queue may show them as running until their lease ends"
    return f"{crash} crashed or was killed; they were given back to their queue"


def has_starter_directory(execute_directory: Path, starter: int) -> bool:
    """Return True while the directory of a starter is in EXECUTE: it removes it at an end in order."""
    return os.path.lexists(execute_directory / f"dir_{starter}")
