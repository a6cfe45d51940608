"""How a node is emptied: which command next, when it counts as taken, when the node is empty. Pure.

Theory of operation. Sequence B first: `condor_off -peaceful -daemon startd`. Running jobs finish without a limit,
claims are not reused, and when the last one is over the startd exits and condor_master holds it ("Hold"). A few
refusals later sequence A: `condor_off -drain -master`, which needs MAXJOBRETIREMENTTIME but no peaceful flag inside
the startd; its end is the master's end. No exit status is trusted: a request counts as taken when a later look sees
the startd retiring. A startd that came back by itself (it crashed) has forgotten the request, so the look may also
take it back.

    ASKING --taken--> RETIRING --Hold--> EMPTY          any --nothing can run--> EMPTY
      |  ^---lost-------'
      '--refused GIVE_UP times--> ASKING with the other sequence
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
    ASKING = "asking the startd to retire"
    RETIRING = "retiring"
    EMPTY = "empty"


class DrainAction(Enum):
    PEACEFUL = "condor_off -peaceful -daemon startd"
    DRAIN = "condor_off -drain -master"
    RECHECK = "look again"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """One look at the node. `startd` is condor_master's word for it, lower case ("alive", "shutdown,drain", "hold",
    "dead"), "" when the master did not answer. `retiring`: the slots say so; None: nobody answered."""

    master_running: bool  # its process is there
    startd_state: str
    startd_running: bool
    retiring: bool | None
    drained: bool  # every slot answers Drained, or there is none claimed any more while the node drains
    starter_count: int


@dataclass(frozen=True, slots=True)
class DrainState:
    step: Step = Step.ASKING
    action: DrainAction = DrainAction.PEACEFUL
    tries: int = 0  # of this order, in a row


def decide(state: DrainState, snapshot: NodeSnapshot) -> tuple[DrainState, DrainAction]:
    """The next order after a look. LOOK means: nothing to do but look again later."""
    if _is_empty(snapshot):
        return replace(state, step=Step.EMPTY), DrainAction.DONE
    if state.action is DrainAction.DRAIN and snapshot.drained and not snapshot.starter_count:
        return replace(state, step=Step.EMPTY), DrainAction.DONE
    if not snapshot.master_running:  # nobody to ask: the startd and its starters have been told to go
        return state, DrainAction.RECHECK
    if _has_taken_effect(snapshot):
        return replace(state, step=Step.RETIRING, tries=0), DrainAction.RECHECK
    if state.step is Step.RETIRING and _is_unknown(snapshot):
        return state, DrainAction.RECHECK
    order, tries = state.action, state.tries
    if tries >= MAX_REFUSALS:
        order, tries = (DrainAction.DRAIN if order is DrainAction.PEACEFUL else DrainAction.PEACEFUL), 0
    return DrainState(Step.ASKING, order, tries + 1), order


def compute_retry_delay(state: DrainState, draw: float) -> float:
    """Seconds to the next look while asking: 1, 2, 4, 8 ... 30, give or take a fifth (`draw` in 0..1)."""
    return RETRY_DELAY.compute(state.tries, draw)


def _is_empty(snapshot: NodeSnapshot) -> bool:
    """No payload is left, and no startd that could take one: held, dead and not yet restarted, or without a master."""
    if snapshot.starter_count or snapshot.startd_running:
        return False
    return not snapshot.master_running or snapshot.startd_state in STARTD_GONE_STATES


def _has_taken_effect(snapshot: NodeSnapshot) -> bool:
    return bool(snapshot.retiring) or "shutdown" in snapshot.startd_state or snapshot.startd_state == STARTD_HOLD


def _is_unknown(snapshot: NodeSnapshot) -> bool:
    return not snapshot.startd_state and snapshot.retiring is None
