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

from autopilot.machines import facts
from autopilot.machines.actions import Action, DropCheck, RunCheck
from autopilot.spec.plan import Health

QUICK = 0.25  # s, first distance between two checks of a starting job


class Phase(Enum):
    OFF = "off"  # the job does not run
    WAITING = "waiting"  # for the next check to be due
    CHECKING = "checking"


class Status(Enum):
    UNKNOWN = "unknown"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class On(Enum):
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
    quick: float = QUICK
    passes: int = 0  # in a row
    failures: int = 0  # in a row
    output: str = ""  # of the last check


Effect = Action | facts.Fact
Step = tuple[HealthState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class _Turn:
    job: str
    plan: Health
    state: HealthState
    now: float
    run: int
    output: str


def step(job: str, plan: Health, state: HealthState, on: On, now: float, *, run: int = 0, output: str = "") -> Step:
    """The state after `on`. `run` comes with UP, `output` (of the check) with PASSED and FAILED."""
    return TABLE[state.phase, on](_Turn(job, plan, state, now, run, output))


def _ignore(t: _Turn) -> Step:
    return t.state, ()


def _up(t: _Turn) -> Step:
    first = t.now + t.plan.initial_delay
    state = HealthState(Phase.WAITING, Status.STARTING, first, run=t.run, up_since=t.now, due=first)
    return state, ()


def _down(t: _Turn) -> Step:
    state = replace(t.state, phase=Phase.OFF, status=Status.UNKNOWN, deadline=None, passes=0, failures=0)
    return state, ((DropCheck(t.job),) if t.state.phase is Phase.CHECKING else ())


def _check(t: _Turn) -> Step:
    state = replace(t.state, phase=Phase.CHECKING, deadline=t.now + t.plan.timeout)
    return state, (RunCheck(t.job, t.state.run, t.plan),)


def _check_timed_out(t: _Turn) -> Step:
    late = replace(t, output=f"no answer within {t.plan.timeout:g} s")
    state, effects = _failed(late)
    return state, (DropCheck(t.job), *effects)


def _passed(t: _Turn) -> Step:
    s, passes = t.state, t.state.passes + 1
    effects: list[Effect] = [facts.CheckPassed(t.job, t.output)]
    status = s.status
    if status is not Status.HEALTHY and passes >= t.plan.successes:
        status = Status.HEALTHY
        effects.append(facts.Healthy(t.job))
    return _wait(replace(t, state=replace(s, status=status, passes=passes, failures=0, output=t.output)), effects)


def _failed(t: _Turn) -> Step:
    s = t.state
    in_grace = s.status is Status.STARTING and t.now < s.up_since + t.plan.initial_delay + t.plan.interval
    failures = 0 if in_grace else s.failures + 1
    status = s.status
    effects: list[Effect] = [facts.CheckFailed(t.job, t.output, failures, in_grace)]
    if status is not Status.UNHEALTHY and failures >= t.plan.failures:
        status = Status.UNHEALTHY
        effects.append(facts.Unhealthy(t.job, t.output, failures))
    return _wait(replace(t, state=replace(s, status=status, passes=0, failures=failures, output=t.output)), effects)


def _wait(t: _Turn, effects: list[Effect]) -> Step:
    """For the next check on the grid; a starting job does not wait for the grid."""
    s, every = t.state, t.plan.interval
    if s.status is Status.STARTING:
        due = t.now + min(s.quick, every)
        return replace(s, phase=Phase.WAITING, deadline=due, due=due, quick=s.quick * 2), tuple(effects)
    missed = max(0, math.ceil((t.now - s.due - every) / every))
    if missed:
        effects.append(facts.ChecksSkipped(t.job, missed))
    due = s.due + (missed + 1) * every
    return replace(s, phase=Phase.WAITING, deadline=due, due=due), tuple(effects)


Cell = Callable[[_Turn], Step]

TABLE: dict[tuple[Phase, On], Cell] = {
    (Phase.OFF, On.UP): _up,
    (Phase.OFF, On.DOWN): _ignore,
    (Phase.OFF, On.ELAPSED): _ignore,
    (Phase.OFF, On.PASSED): _ignore,
    (Phase.OFF, On.FAILED): _ignore,
    (Phase.WAITING, On.UP): _up,
    (Phase.WAITING, On.DOWN): _down,
    (Phase.WAITING, On.ELAPSED): _check,
    (Phase.WAITING, On.PASSED): _ignore,  # a dropped check's late answer
    (Phase.WAITING, On.FAILED): _ignore,
    (Phase.CHECKING, On.UP): _up,
    (Phase.CHECKING, On.DOWN): _down,
    (Phase.CHECKING, On.ELAPSED): _check_timed_out,
    (Phase.CHECKING, On.PASSED): _passed,
    (Phase.CHECKING, On.FAILED): _failed,
}
