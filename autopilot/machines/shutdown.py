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

KILL_TIMEOUT_S = 3.0  # s between the kill of everything and leaving without it


class Phase(Enum):
    UP = "up"
    STOPPING = "stopping"
    KILLING = "killing"
    OVER = "over"


class Input(Enum):
    STOP = "stop"
    EVENTS_HANDLED = "settled"  # all news is heard; `left` says which orders still have a job
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
    requested_by: str


@dataclass(frozen=True, slots=True)
class FinishShutdown:
    """Nothing is left, or nothing more can be done."""


ShutdownCommand = StopGroup | KillAll | FinishShutdown
Step = tuple[ShutdownState, tuple[ShutdownCommand, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext:
    state: ShutdownState
    now: float
    remaining_orders: tuple[int, ...]
    outcome: Outcome | None
    budget: float
    requested_by: str


def step(
    state: ShutdownState,
    on: Input,
    now: float,
    *,
    remaining_orders: tuple[int, ...] = (),
    outcome: Outcome | None = None,
    budget: float = 0.0,
    requested_by: str = "",
) -> Step:
    """The state after `on`.

    `left`: the orders of the jobs that are not done yet, ascending. `outcome` and `budget` (s) come with STOP.
    """
    return TABLE[state.phase, on](_StepContext(state, now, remaining_orders, outcome, budget, requested_by))


def _ignore(t: _StepContext) -> Step:
    return t.state, ()


def _stop(t: _StepContext) -> Step:
    return ShutdownState(Phase.STOPPING, t.now + t.budget, None, t.outcome), ()


def _stop_next_group(t: _StepContext) -> Step:
    if not t.remaining_orders:
        return _finish(t)
    if t.state.order is not None and t.remaining_orders[0] <= t.state.order:
        return _ignore(t)  # the group being stopped (or a post-stop job of an earlier one) is not gone yet
    return replace(t.state, order=t.remaining_orders[0]), (StopGroup(t.remaining_orders[0]),)


def _kill_all(t: _StepContext) -> Step:
    state = replace(t.state, phase=Phase.KILLING, deadline=t.now + KILL_TIMEOUT_S)
    return state, (KillAll(t.requested_by or "the stop's time budget is spent"),)


def _finish_if_empty(t: _StepContext) -> Step:
    return _ignore(t) if t.remaining_orders else _finish(t)


def _finish(t: _StepContext) -> Step:
    return replace(t.state, phase=Phase.OVER, deadline=None), (FinishShutdown(),)


Cell = Callable[[_StepContext], Step]

TABLE: dict[tuple[Phase, Input], Cell] = {
    (Phase.UP, Input.STOP): _stop,
    (Phase.UP, Input.EVENTS_HANDLED): _ignore,
    (Phase.UP, Input.HURRY): _ignore,
    (Phase.UP, Input.ELAPSED): _ignore,
    (Phase.STOPPING, Input.STOP): _ignore,
    (Phase.STOPPING, Input.EVENTS_HANDLED): _stop_next_group,
    (Phase.STOPPING, Input.HURRY): _kill_all,
    (Phase.STOPPING, Input.ELAPSED): _kill_all,
    (Phase.KILLING, Input.STOP): _ignore,
    (Phase.KILLING, Input.EVENTS_HANDLED): _finish_if_empty,
    (Phase.KILLING, Input.HURRY): _ignore,
    (Phase.KILLING, Input.ELAPSED): _finish,
    (Phase.OVER, Input.STOP): _ignore,
    (Phase.OVER, Input.EVENTS_HANDLED): _ignore,
    (Phase.OVER, Input.HURRY): _ignore,
    (Phase.OVER, Input.ELAPSED): _ignore,
}
