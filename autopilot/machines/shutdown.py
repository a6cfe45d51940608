"""The ordered stop of everything, within one budget.

Theory of operation. Jobs stop in groups of equal `stop.order`, lowest first; a group is asked when the one before
it is gone. No sleep anywhere: the stop is over when the last job is empty. When the budget is spent, or somebody
asks a second time, all that is left is killed; LAST_PATIENCE later we leave whatever the kernel still holds, and
name it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from autopilot.machines.actions import Outcome

LAST_PATIENCE = 3.0  # s between the kill of everything and leaving without it


class Phase(Enum):
    UP = "up"
    STOPPING = "stopping"
    KILLING = "killing"
    OVER = "over"


class On(Enum):
    STOP = "stop"
    SETTLED = "settled"  # all news is heard; `left` says which orders still have a job
    HURRY = "hurry"
    ELAPSED = "elapsed"


@dataclass(frozen=True, slots=True)
class ShutdownState:
    phase: Phase = Phase.UP
    deadline: float | None = None
    order: int | None = None  # the group that is being stopped
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class StopGroup:
    """Ask every job of this order to stop."""

    order: int


@dataclass(frozen=True, slots=True)
class KillAll:
    who: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing is left, or nothing more can be done."""


Order = StopGroup | KillAll | Leave
Step = tuple[ShutdownState, tuple[Order, ...]]


@dataclass(frozen=True, slots=True)
class _Turn:
    state: ShutdownState
    now: float
    left: tuple[int, ...]
    outcome: Outcome | None
    budget: float
    who: str


def step(
    state: ShutdownState,
    on: On,
    now: float,
    *,
    left: tuple[int, ...] = (),
    outcome: Outcome | None = None,
    budget: float = 0.0,
    who: str = "",
) -> Step:
    """The state after `on`.

    `left`: the orders of the jobs that are not done yet, ascending. `outcome` and `budget` (s) come with STOP.
    """
    return TABLE[state.phase, on](_Turn(state, now, left, outcome, budget, who))


def _ignore(t: _Turn) -> Step:
    return t.state, ()


def _stop(t: _Turn) -> Step:
    return ShutdownState(Phase.STOPPING, t.now + t.budget, None, t.outcome), ()


def _next_group(t: _Turn) -> Step:
    if not t.left:
        return _leave(t)
    if t.state.order is not None and t.left[0] <= t.state.order:
        return _ignore(t)  # the group being stopped (or a post-stop job of an earlier one) is not gone yet
    return replace(t.state, order=t.left[0]), (StopGroup(t.left[0]),)


def _kill(t: _Turn) -> Step:
    state = replace(t.state, phase=Phase.KILLING, deadline=t.now + LAST_PATIENCE)
    return state, (KillAll(t.who or "the stop's time budget is spent"),)


def _settled_while_killing(t: _Turn) -> Step:
    return _ignore(t) if t.left else _leave(t)


def _leave(t: _Turn) -> Step:
    return replace(t.state, phase=Phase.OVER, deadline=None), (Leave(),)


Cell = Callable[[_Turn], Step]

TABLE: dict[tuple[Phase, On], Cell] = {
    (Phase.UP, On.STOP): _stop,
    (Phase.UP, On.SETTLED): _ignore,
    (Phase.UP, On.HURRY): _ignore,
    (Phase.UP, On.ELAPSED): _ignore,
    (Phase.STOPPING, On.STOP): _ignore,
    (Phase.STOPPING, On.SETTLED): _next_group,
    (Phase.STOPPING, On.HURRY): _kill,
    (Phase.STOPPING, On.ELAPSED): _kill,
    (Phase.KILLING, On.STOP): _ignore,
    (Phase.KILLING, On.SETTLED): _settled_while_killing,
    (Phase.KILLING, On.HURRY): _ignore,
    (Phase.KILLING, On.ELAPSED): _leave,
    (Phase.OVER, On.STOP): _ignore,
    (Phase.OVER, On.SETTLED): _ignore,
    (Phase.OVER, On.HURRY): _ignore,
    (Phase.OVER, On.ELAPSED): _ignore,
}
