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

GIVE_UP = 2  # refusals in a row, then the other sequence is tried
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # s between refusals
HOLD = "hold"
GONE = frozenset({"dead", "hold", "exited"})


class Step(Enum):
    ASKING = "asking the startd to retire"
    RETIRING = "retiring"
    EMPTY = "empty"


class Order(Enum):
    PEACEFUL = "condor_off -peaceful -daemon startd"
    DRAIN = "condor_off -drain -master"
    LOOK = "look again"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the node. `startd` is condor_master's word for it, lower case ("alive", "shutdown,drain", "hold",
    "dead"), "" when the master did not answer. `retiring`: the slots say so; None: nobody answered."""

    master: bool  # its process is there
    startd: str
    startd_process: bool
    retiring: bool | None
    drained: bool  # every slot answers Drained, or there is none claimed any more while the node drains
    starters: int


@dataclass(frozen=True, slots=True)
class Drain:
    step: Step = Step.ASKING
    order: Order = Order.PEACEFUL
    tries: int = 0  # of this order, in a row


def decide(state: Drain, sight: Sight) -> tuple[Drain, Order]:
    """The next order after a look. LOOK means: nothing to do but look again later."""
    if _nothing_can_run(sight):
        return replace(state, step=Step.EMPTY), Order.DONE
    if state.order is Order.DRAIN and sight.drained and not sight.starters:
        return replace(state, step=Step.EMPTY), Order.DONE
    if not sight.master:  # nobody to ask: the startd and its starters have been told to go
        return state, Order.LOOK
    if _taken(sight):
        return replace(state, step=Step.RETIRING, tries=0), Order.LOOK
    if state.step is Step.RETIRING and _unknown(sight):
        return state, Order.LOOK
    order, tries = state.order, state.tries
    if tries >= GIVE_UP:
        order, tries = (Order.DRAIN if order is Order.PEACEFUL else Order.PEACEFUL), 0
    return Drain(Step.ASKING, order, tries + 1), order


def pause(state: Drain, draw: float) -> float:
    """Seconds to the next look while asking: 1, 2, 4, 8 ... 30, give or take a fifth (`draw` in 0..1)."""
    base = min(FIRST_PAUSE * 2.0 ** min(max(0, state.tries - 1), 30), LONGEST_PAUSE)
    return base * (0.8 + 0.4 * draw)


def _nothing_can_run(sight: Sight) -> bool:
    """No payload is left, and no startd that could take one: held, dead and not yet restarted, or without a master."""
    if sight.starters or sight.startd_process:
        return False
    return not sight.master or sight.startd in GONE


def _taken(sight: Sight) -> bool:
    return bool(sight.retiring) or "shutdown" in sight.startd or sight.startd == HOLD


def _unknown(sight: Sight) -> bool:
    return not sight.startd and sight.retiring is None
