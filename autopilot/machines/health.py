"""The health of one running job.

Theory of operation. One check at a time: a check is due on a fixed grid (so many `interval`s from the first one); a
check that overruns the grid is not run twice but skips what it missed, and says so. Before the first success a job
is *starting*: it is asked more often (QUICK, doubling, never slower than the interval), and within its grace
(`initial_delay` plus one interval) a failure is not held against it: with the paper's 60 s interval a node is known
to be healthy after 2 s, not 60.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from autopilot.machines import events
from autopilot.machines.actions import Action, CancelCheck, RunCheck
from autopilot.spec.plan import Health

STARTING_INTERVAL_S = 0.25  # s, first distance between two checks of a starting job


class Phase(Enum):
    OFF = "off"  # the job does not run
    WAITING = "waiting"  # for the next check to be due
    CHECKING = "checking"


class Status(Enum):
    UNKNOWN = "unknown"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Input(Enum):
    UP = "up"
    DOWN = "down"
    ELAPSED = "elapsed"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HealthState:
    phase: Phase = Phase.OFF
    status: Status = Status.UNKNOWN
    deadline: float | None = None
    run: int = 0
    up_since: float = 0.0
    due: float = 0.0  # when the running or the last check was due
    starting_interval: float = STARTING_INTERVAL_S
    passes: int = 0  # in a row
    failures: int = 0  # in a row
    output: str = ""  # of the last check


Effect = Action | events.Event
Step = tuple[HealthState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext:
    job: str
    plan: Health
    state: HealthState
    now: float
    run: int
    output: str


def step(job: str, plan: Health, state: HealthState, on: Input, now: float, *, run: int = 0, output: str = "") -> Step:
    """The state after `on`. `run` comes with UP, `output` (of the check) with PASSED and FAILED."""
    return TABLE[state.phase, on](_StepContext(job, plan, state, now, run, output))


def _ignore(t: _StepContext) -> Step:
    return t.state, ()


def _start_checking(t: _StepContext) -> Step:
    first = t.now + t.plan.initial_delay
    state = HealthState(Phase.WAITING, Status.STARTING, first, run=t.run, up_since=t.now, due=first)
    return state, ()


def _stop_checking(t: _StepContext) -> Step:
    state = replace(t.state, phase=Phase.OFF, status=Status.UNKNOWN, deadline=None, passes=0, failures=0)
    return state, ((CancelCheck(t.job),) if t.state.phase is Phase.CHECKING else ())


def _start_check(t: _StepContext) -> Step:
    state = replace(t.state, phase=Phase.CHECKING, deadline=t.now + t.plan.timeout)
    return state, (RunCheck(t.job, t.state.run, t.plan),)


def _handle_check_timeout(t: _StepContext) -> Step:
    late = replace(t, output=f"no answer within {t.plan.timeout:g} s")
    state, effects = _record_failure(late)
    return state, (CancelCheck(t.job), *effects)


def _record_pass(t: _StepContext) -> Step:
    s, passes = t.state, t.state.passes + 1
    effects: list[Effect] = [events.CheckPassed(t.job, t.output)]
    status = s.status
    if status is not Status.HEALTHY and passes >= t.plan.successes:
        status = Status.HEALTHY
        effects.append(events.Healthy(t.job))
    return _wait_for_next_check(
        replace(t, state=replace(s, status=status, passes=passes, failures=0, output=t.output)), effects
    )


def _record_failure(t: _StepContext) -> Step:
    s = t.state
    in_grace = s.status is Status.STARTING and t.now < s.up_since + t.plan.initial_delay + t.plan.interval
    failures = 0 if in_grace else s.failures + 1
    status = s.status
    effects: list[Effect] = [events.CheckFailed(t.job, t.output, failures, in_grace)]
    if status is not Status.UNHEALTHY and failures >= t.plan.failures:
        status = Status.UNHEALTHY
        effects.append(events.Unhealthy(t.job, t.output, failures))
    return _wait_for_next_check(
        replace(t, state=replace(s, status=status, passes=0, failures=failures, output=t.output)), effects
    )


def _wait_for_next_check(t: _StepContext, effects: list[Effect]) -> Step:
    """For the next check on the grid; a starting job does not wait for the grid."""
    s, every = t.state, t.plan.interval
    if s.status is Status.STARTING:
        due = t.now + min(s.starting_interval, every)
        return replace(s, phase=Phase.WAITING, deadline=due, due=due, starting_interval=s.starting_interval * 2), tuple(
            effects
        )
    missed = max(0, math.ceil((t.now - s.due - every) / every))
    if missed:
        effects.append(events.ChecksSkipped(t.job, missed))
    due = s.due + (missed + 1) * every
    return replace(s, phase=Phase.WAITING, deadline=due, due=due), tuple(effects)


Cell = Callable[[_StepContext], Step]

TABLE: dict[tuple[Phase, Input], Cell] = {
    (Phase.OFF, Input.UP): _start_checking,
    (Phase.OFF, Input.DOWN): _ignore,
    (Phase.OFF, Input.ELAPSED): _ignore,
    (Phase.OFF, Input.PASSED): _ignore,
    (Phase.OFF, Input.FAILED): _ignore,
    (Phase.WAITING, Input.UP): _start_checking,
    (Phase.WAITING, Input.DOWN): _stop_checking,
    (Phase.WAITING, Input.ELAPSED): _start_check,
    (Phase.WAITING, Input.PASSED): _ignore,  # a dropped check's late answer
    (Phase.WAITING, Input.FAILED): _ignore,
    (Phase.CHECKING, Input.UP): _start_checking,
    (Phase.CHECKING, Input.DOWN): _stop_checking,
    (Phase.CHECKING, Input.ELAPSED): _handle_check_timeout,
    (Phase.CHECKING, Input.PASSED): _record_pass,
    (Phase.CHECKING, Input.FAILED): _record_failure,
}
