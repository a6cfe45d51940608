"""Stop all jobs in order, within one budget.

Theory of operation. Jobs stop in groups of equal `stop.order`, lowest first; a group is asked to stop when the one
before it is gone. There is no sleep: the stop is over when the last process of the last job is gone. When the budget
is spent, or the stop is requested a second time, all remaining jobs are killed. KILL_TIMEOUT_S later the supervisor
leaves, and names the jobs that the kernel still holds.

docs/state-machines.md draws `TABLE`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from autopilot.machines.actions import Outcome
from autopilot.machines.tables import IGNORE, Cell, StepContext, build_table, keep_state

KILL_TIMEOUT_S = 3.0  # s between the kill of all jobs and leaving without them


class Phase(Enum):
    """Progress of the shutdown."""

    UP = "up"
    STOPPING = "stopping"
    KILLING = "killing"
    OVER = "over"


class Input(Enum):
    """Input of the shutdown machine."""

    STOP = "stop"
    EVENTS_HANDLED = "events-handled"  # no event is pending; `remaining_orders` is up to date
    HURRY = "hurry"
    ELAPSED = "elapsed"


@dataclass(frozen=True, slots=True)
class ShutdownState:
    """State of the shutdown between two steps."""

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
    """Kill every remaining job."""

    requested_by: str


@dataclass(frozen=True, slots=True)
class FinishShutdown:
    """Leave: no job remains, or no more can be done about those that do."""


ShutdownCommand = StopGroup | KillAll | FinishShutdown
Step = tuple[ShutdownState, tuple[ShutdownCommand, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext(StepContext[ShutdownState]):
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
    """Return the state after an input, and the commands that follow from it, in order.

    Args:
        state: The state before.
        on: The input.
        now: Seconds on the core's clock.
        remaining_orders: The `stop.order`s of the jobs that are not done yet, ascending.
        outcome: The end of the life, with STOP.
        budget: Seconds for the whole stop, with STOP.
        requested_by: The author of a HURRY.
    """
    return TABLE[state.phase, on](_StepContext(state, now, remaining_orders, outcome, budget, requested_by))


def _stop(t: _StepContext) -> Step:
    return ShutdownState(Phase.STOPPING, t.now + t.budget, None, t.outcome), ()


def _stop_next_group(t: _StepContext) -> Step:
    if not t.remaining_orders:
        return _finish(t)
    if t.state.order is not None and t.remaining_orders[0] <= t.state.order:
        return keep_state(t)  # the group being stopped (or a post-stop job of an earlier one) is not gone yet
    return replace(t.state, order=t.remaining_orders[0]), (StopGroup(t.remaining_orders[0]),)


def _kill_all(t: _StepContext) -> Step:
    state = replace(t.state, phase=Phase.KILLING, deadline=t.now + KILL_TIMEOUT_S)
    return state, (KillAll(t.requested_by or "the stop's time budget is spent"),)


def _finish_if_empty(t: _StepContext) -> Step:
    return keep_state(t) if t.remaining_orders else _finish(t)


def _finish(t: _StepContext) -> Step:
    return replace(t.state, phase=Phase.OVER, deadline=None), (FinishShutdown(),)


Row = dict[str, Cell[_StepContext, Step]]
P = Phase

TABLE = build_table(
    Phase,
    Input,
    up=Row(
        stop=Cell(_stop, P.STOPPING),
        events_handled=IGNORE,
        hurry=IGNORE,
        elapsed=IGNORE,
    ),
    stopping=Row(
        stop=IGNORE,  # a stop has one outcome, its first
        events_handled=Cell(_stop_next_group, P.OVER),
        hurry=Cell(_kill_all, P.KILLING),
        elapsed=Cell(_kill_all, P.KILLING),
    ),
    killing=Row(
        stop=IGNORE,
        events_handled=Cell(_finish_if_empty, P.OVER),
        hurry=IGNORE,
        elapsed=Cell(_finish, P.OVER),
    ),
    over=Row(
        stop=IGNORE,
        events_handled=IGNORE,
        hurry=IGNORE,
        elapsed=IGNORE,
    ),
)
