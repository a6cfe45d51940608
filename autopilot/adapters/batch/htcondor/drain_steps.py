"""Decide how a node is emptied: the next command, when it has taken effect, when the node is empty. Pure.

Theory of operation. Sequence B first: `condor_off -peaceful -daemon startd`. Running jobs finish without a limit,
claims are not reused, and when the last one is over the startd exits and condor_master holds it ("Hold"). A few
refusals later sequence A: `condor_off -drain -master`, and this needs MAXJOBRETIREMENTTIME but no peaceful flag inside
the startd; its end is the master's end. No exit status is trusted: a request has taken effect when a later
observation sees the startd retiring. A startd that came back by itself (it crashed) has forgotten the request, so an
observation may also take the effect back.

    ASKING --effect--> RETIRING --Hold--> EMPTY         any --nothing can run--> EMPTY
      |  ^---lost-------'
      '--refused MAX_REFUSALS times--> ASKING with the other sequence
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autopilot.retry_delay import RetryDelay

MAX_REFUSALS = 2  # refusals in a row, then the other sequence is tried
RETRY_DELAY = RetryDelay(first_s=1.0, max_s=30.0, jitter=0.2)  # between refusals
STARTD_HOLD = "hold"
STARTD_GONE_STATES = frozenset({"dead", "hold", "exited"})


class Step(Enum):
    """Progress of a drain; the values are shown in `autopilot status`."""

    ASKING = "asking the startd to retire"
    RETIRING = "retiring"
    EMPTY = "empty"


class DrainAction(Enum):
    """The next thing to do; the values are shown in `autopilot status`."""

    PEACEFUL = "condor_off -peaceful -daemon startd"
    DRAIN = "condor_off -drain -master"
    RECHECK = "look again"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """The node at one moment.

    Attributes:
        master_running: A process of condor_master is there.
        startd_state: condor_master's word for the startd, lower case ("alive", "shutdown,drain", "hold", "dead"); ""
            when the master did not answer.
        startd_running: A process of the startd is there.
        retiring: Whether the slots take no new jobs; None when the startd did not answer.
        drained: Every slot is Drained, or unclaimed while the node drains.
        starter_count: Running payloads.
    """

    master_running: bool
    startd_state: str
    startd_running: bool
    retiring: bool | None
    drained: bool
    starter_count: int


@dataclass(frozen=True, slots=True)
class DrainState:
    """State of a drain between two observations."""

    step: Step = Step.ASKING
    action: DrainAction = DrainAction.PEACEFUL
    tries: int = 0  # of this action, in a row


def decide(state: DrainState, snapshot: NodeSnapshot) -> tuple[DrainState, DrainAction]:
    """Return the state and the action after an observation. RECHECK: nothing to do but observe again later."""
    if _is_empty(snapshot):
        return replace(state, step=Step.EMPTY), DrainAction.DONE
    if state.action is DrainAction.DRAIN and snapshot.drained and not snapshot.starter_count:
        return replace(state, step=Step.EMPTY), DrainAction.DONE
    if not snapshot.master_running:  # nothing to ask: the startd and its starters have been told to end
        return state, DrainAction.RECHECK
    if _has_taken_effect(snapshot):
        return replace(state, step=Step.RETIRING, tries=0), DrainAction.RECHECK
    if state.step is Step.RETIRING and _is_unknown(snapshot):
        return state, DrainAction.RECHECK
    action, tries = state.action, state.tries
    if tries >= MAX_REFUSALS:
        action, tries = (DrainAction.DRAIN if action is DrainAction.PEACEFUL else DrainAction.PEACEFUL), 0
    return DrainState(Step.ASKING, action, tries + 1), action


def compute_retry_delay(state: DrainState, draw: float) -> float:
    """Return the seconds to the next try: 1, 2, 4, 8 ... 30, give or take a fifth (`draw` in 0..1)."""
    return RETRY_DELAY.compute(state.tries, draw)


def _is_empty(snapshot: NodeSnapshot) -> bool:
    """Return True when no payload runs and no startd can take one: held, dead, or without a master to restart it."""
    if snapshot.starter_count or snapshot.startd_running:
        return False
    return not snapshot.master_running or snapshot.startd_state in STARTD_GONE_STATES


def _has_taken_effect(snapshot: NodeSnapshot) -> bool:
    return bool(snapshot.retiring) or "shutdown" in snapshot.startd_state or snapshot.startd_state == STARTD_HOLD


def _is_unknown(snapshot: NodeSnapshot) -> bool:
    return not snapshot.startd_state and snapshot.retiring is None
