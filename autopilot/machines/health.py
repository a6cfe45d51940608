"""Decide on the health of one running job.

Theory of operation. Checks never overlap. A check is due on a fixed grid (whole `interval`s from the first one); a
check that overruns the grid is not run twice: the times it missed are skipped and reported. Before the first success a
job is *starting*: it is checked more often (STARTING_INTERVAL_S, doubling, never slower than the interval), and within
its grace (`initial_delay` plus one interval) a failure does not count; a job in a crash loop has the time of its
back-off, or of its last run if that one never became healthy, as further grace, so that a slow start comes to an end.
So a node with an interval of 60 s is known to be healthy after 2 s, not 60.

docs/state-machines.md draws `TABLE`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from autopilot.machines import events
from autopilot.machines.actions import Action, CancelCheck, RunCheck
from autopilot.machines.tables import IGNORE, Cell, StepContext, build_table
from autopilot.spec.plan import Health

STARTING_INTERVAL_S = 0.25  # s between the first two checks of a starting job


class Phase(Enum):
    """Activity of a job's health check."""

    OFF = "off"  # the job does not run
    WAITING = "waiting"  # for the next check to be due
    CHECKING = "checking"


class Status(Enum):
    """Health of a job as far as it is known."""

    UNKNOWN = "unknown"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Input(Enum):
    """Input of the health machine: news of the job, or of its check."""

    UP = "up"  # the job runs
    DOWN = "down"  # it does not run, or is in maintenance
    ELAPSED = "elapsed"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HealthState:
    """State of one job's health between two steps. Moments are seconds on the core's clock."""

    phase: Phase = Phase.OFF
    status: Status = Status.UNKNOWN
    deadline: float | None = None
    run: int = 0
    up_since: float = 0.0
    grace: float = 0.0  # s, beyond the usual one
    due: float = 0.0  # moment at which the running or the last check was due
    starting_interval: float = STARTING_INTERVAL_S
    passes: int = 0  # in a row
    failures: int = 0  # in a row
    was_healthy: bool = False  # at some time of this run
    output: str = ""  # of the last check


Effect = Action | events.Event
Step = tuple[HealthState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _StepContext(StepContext[HealthState]):
    job: str
    plan: Health
    run: int
    output: str
    grace: float


def step(
    job: str,
    plan: Health,
    state: HealthState,
    on: Input,
    now: float,
    *,
    run: int = 0,
    output: str = "",
    grace: float = 0.0,
) -> Step:
    """Return the state after an input, and the actions and events that follow from it, in order.

    Args:
        job: The job's name.
        plan: The plan of its check.
        state: The state before.
        on: The input.
        now: Seconds on the core's clock.
        run: Number of the job's run, with UP.
        output: Output of the check, with PASSED and FAILED.
        grace: Seconds that are added to the grace of a starting job, with UP.
    """
    return TABLE[state.phase, on](_StepContext(state, now, job, plan, run, output, grace))


def _start_checking(t: _StepContext) -> Step:
    first = t.now + t.plan.initial_delay
    state = HealthState(Phase.WAITING, Status.STARTING, first, run=t.run, up_since=t.now, grace=t.grace, due=first)
    is_same_run = t.state.run == t.run  # it was in maintenance, or has another check now
    return replace(state, was_healthy=is_same_run and t.state.was_healthy), ()


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
    was_healthy = s.was_healthy or status is Status.HEALTHY
    passed = replace(s, status=status, passes=passes, failures=0, was_healthy=was_healthy, output=t.output)
    return _wait_for_next_check(replace(t, state=passed), effects)


def _record_failure(t: _StepContext) -> Step:
    s = t.state
    grace = t.plan.initial_delay + t.plan.interval + s.grace
    in_grace = s.status is Status.STARTING and t.now < s.up_since + grace
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
    """Wait for the next check on the grid; a starting job does not wait for the grid."""
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


Row = dict[str, Cell[_StepContext, Step]]
P = Phase

TABLE = build_table(
    Phase,
    Input,
    off=Row(
        up=Cell(_start_checking, P.WAITING),
        down=IGNORE,
        elapsed=IGNORE,
        passed=IGNORE,
        failed=IGNORE,
    ),
    waiting=Row(
        up=Cell(_start_checking),
        down=Cell(_stop_checking, P.OFF),
        elapsed=Cell(_start_check, P.CHECKING),
        passed=IGNORE,  # the late answer of a check that was cancelled
        failed=IGNORE,
    ),
    checking=Row(
        up=Cell(_start_checking, P.WAITING),
        down=Cell(_stop_checking, P.OFF),
        elapsed=Cell(_handle_check_timeout, P.WAITING),
        passed=Cell(_record_pass, P.WAITING),
        failed=Cell(_record_failure, P.WAITING),
    ),
)
