"""Decide on one gate: a check that must pass once before the jobs that it guards start.

Theory of operation. A gate is IDLE until a job waits for it. Then it is asked, and after each refusal asked again
`retry` seconds later, the last time when its `timeout` is over. A gate that has opened stays open for the whole life:
health checks watch over what comes later. A gate that no job waits for any more is IDLE again, because its refusal
would end a life that does not need it.

Each attempt has a number, which is never used again: the late answer of an attempt that was cancelled is dropped.

docs/state-machines.md draws `TABLE`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from autopilot.machines import events
from autopilot.machines.actions import Action, AskGate, CancelGate
from autopilot.machines.tables import IGNORE, Cell, StepContext, build_table
from autopilot.spec.plan import Gate


class Phase(Enum):
    """Activity of a gate."""

    IDLE = "idle"  # no job waits for it
    CHECKING = "checking"
    WAITING = "waiting"  # for its next attempt
    OPEN = "open"
    FAILED = "failed"  # its time is over, and the life ends


class Input(Enum):
    """Input of the gate machine: news of the jobs that it guards, or of its check."""

    NEEDED = "needed"  # a job waits for it
    UNNEEDED = "unneeded"  # no job waits for it any more
    ELAPSED = "elapsed"
    PASSED = "passed"
    REFUSED = "refused"


ACTIVE_PHASES = frozenset({Phase.CHECKING, Phase.WAITING})


@dataclass(frozen=True, slots=True)
class GateState:
    """State of one gate between two steps. Moments are seconds on the core's clock."""

    phase: Phase = Phase.IDLE
    deadline: float | None = None
    attempt: int = 0  # number of the running or the last attempt of this life
    began: float = 0.0  # moment of the first attempt since a job waits for it
    attempts: int = 0  # since then
    waited: float = 0.0  # s, until it opened or failed
    output: str = ""  # last answer
    passed: bool = False  # last answer
    has_failed: bool = False  # GateFailed was emitted: the wait goes on without limit


Effect = Action | events.Event
Step = tuple[GateState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext(StepContext[GateState]):
    plan: Gate
    output: str


def step(plan: Gate, state: GateState, on: Input, now: float, *, output: str = "") -> Step:
    """Return the state after an input, and the actions and events that follow from it, in order.

    Args:
        plan: The gate's plan.
        state: The state before.
        on: The input.
        now: Seconds on the core's clock.
        output: Answer of the check, with PASSED and REFUSED.
    """
    return TABLE[state.phase, on](_StepContext(state, now, plan, output))


def _begin(t: _StepContext) -> Step:
    fresh = GateState(attempt=t.state.attempt, began=t.now)
    return _ask(replace(t, state=fresh))


def _ask(t: _StepContext) -> Step:
    s = t.state
    asked = replace(
        s,
        phase=Phase.CHECKING,
        deadline=t.now + t.plan.attempt_timeout,
        attempt=s.attempt + 1,
        attempts=s.attempts + 1,
    )
    return asked, (AskGate(t.plan.name, asked.attempt, t.plan),)


def _rest(t: _StepContext) -> Step:
    idle = replace(t.state, phase=Phase.IDLE, deadline=None)
    return idle, ((CancelGate(t.plan.name),) if t.state.phase is Phase.CHECKING else ())


def _open(t: _StepContext) -> Step:
    waited = t.now - t.state.began
    state = replace(t.state, phase=Phase.OPEN, deadline=None, waited=waited, output=t.output, passed=True)
    return state, (events.GateOpened(t.plan.name, t.output, waited),)


def _handle_attempt_timeout(t: _StepContext) -> Step:
    state, effects = _handle_refusal(replace(t, output=f"no answer within {t.plan.attempt_timeout:g} s"))
    return state, (CancelGate(t.plan.name), *effects)


def _handle_refusal(t: _StepContext) -> Step:
    """Wait for the next attempt; the last one is made when the time is over."""
    s, gate = t.state, t.plan
    is_news = s.attempts == 1 or _remove_numbers(t.output) != _remove_numbers(s.output)
    refused: tuple[Effect, ...] = (events.GateRefused(gate.name, t.output, gate.remedy),) if is_news else ()
    end = s.began + gate.timeout
    after = replace(s, phase=Phase.WAITING, deadline=t.now + gate.retry, output=t.output)
    if s.has_failed:
        return after, refused
    if t.now < end:
        return replace(after, deadline=min(t.now + gate.retry, end)), refused
    waited = t.now - s.began
    failed = events.GateFailed(gate.name, t.output, waited, gate.on_failure, gate.remedy)
    effects = (*refused, failed)
    if gate.on_failure == "wait":
        return replace(after, has_failed=True), effects
    phase = Phase.OPEN if gate.on_failure == "start" else Phase.FAILED
    return replace(after, phase=phase, deadline=None, waited=waited, has_failed=True), effects


def _remove_numbers(text: str) -> str:
    """Return an answer without its numbers: the same answer with other amounts of time or space is no news."""
    return re.sub(r"[0-9]+", "", text)


Row = dict[str, Cell[_StepContext, Step]]
P = Phase

TABLE = build_table(
    Phase,
    Input,
    idle=Row(
        needed=Cell(_begin, P.CHECKING),
        unneeded=IGNORE,
        elapsed=IGNORE,
        passed=IGNORE,  # the late answer of an attempt that was cancelled
        refused=IGNORE,
    ),
    checking=Row(
        needed=IGNORE,
        unneeded=Cell(_rest, P.IDLE),
        elapsed=Cell(_handle_attempt_timeout, P.WAITING, P.OPEN, P.FAILED),
        passed=Cell(_open, P.OPEN),
        refused=Cell(_handle_refusal, P.WAITING, P.OPEN, P.FAILED),
    ),
    waiting=Row(
        needed=IGNORE,
        unneeded=Cell(_rest, P.IDLE),
        elapsed=Cell(_ask, P.CHECKING),
        passed=IGNORE,  # the late answer of an attempt that was cancelled
        refused=IGNORE,
    ),
    open=Row(
        needed=IGNORE,
        unneeded=IGNORE,  # it stays open
        elapsed=IGNORE,
        passed=IGNORE,
        refused=IGNORE,
    ),
    failed=Row(
        needed=IGNORE,  # the life ends
        unneeded=IGNORE,
        elapsed=IGNORE,
        passed=IGNORE,
        refused=IGNORE,
    ),
)
