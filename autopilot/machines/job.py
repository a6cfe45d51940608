"""One job: when it starts, how it ends, whether it runs again.

Theory of operation. `phase` is what the job is doing, `want_up` what is wanted of it; the two never share a field.
Every phase has at most one deadline. A run ends in two steps: its leader exits, then the job is *empty* (no process
of it is left); only an empty job moves on, so two runs of one job never overlap. Whatever ends a run meets in
`_settle`, which alone decides what comes next.

    WAITING ─▶ DELAYED ─▶ STARTING ─▶ RUNNING ─▶ HOLDING ─▶ STOPPING ─▶ KILLING ─▶ (settle) ─▶ BACKOFF | RESTING | DONE

A job without a command has no process: it is RUNNING from its start to its stop, for the sake of its health check.

`TABLE` has a cell for every phase and cue; `ignore` stands where a cue comes too late or says nothing new.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from autopilot.machines import calendar, facts
from autopilot.machines.actions import Action, Kill, Signal, Spawn
from autopilot.machines.cues import Exited
from autopilot.machines.restart import Streak, after_run
from autopilot.spec.plan import Job

SIGHUP, SIGTERM = 1, 15
REKILL_AFTER = 2.0  # s; a process in uninterruptible sleep takes its SIGKILL when it wakes
HURRY_GRACE = 1.0  # s that a hurried job has for its last signal: condor_master's SIGQUIT takes 0.1-0.3 s


class Phase(Enum):
    WAITING = "waiting"  # for its `when`
    DELAYED = "delayed"  # its `when` came true, its delay runs
    STARTING = "starting"  # asked the shell for a process
    RUNNING = "running"
    HOLDING = "holding"  # stopping, but its pre-stop jobs go first
    STOPPING = "stopping"  # asked to end
    KILLING = "killing"  # SIGKILL was sent
    BACKOFF = "backoff"  # ended; runs again at the deadline
    RESTING = "resting"  # between two runs of a periodic or an `each` job
    DONE = "done"


class On(Enum):
    TRIGGERED = "triggered"  # its `when` is true
    SPAWNED = "spawned"
    EXITED = "exited"
    EMPTIED = "emptied"
    ELAPSED = "elapsed"  # the deadline has come
    STOP = "stop"
    HOLD = "hold"  # stop, but wait for the pre-stop jobs first
    RELEASE = "release"  # the pre-stop jobs are over
    START = "start"
    RESTART = "restart"
    RELOAD = "reload"  # SIGHUP: it reads its configuration again
    RETIRE = "retire"  # let it run, but never again
    HURRY = "hurry"  # no more patience: kill
    ABANDON = "abandon"  # its `when` can never come true any more


ALIVE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.HOLDING, Phase.STOPPING, Phase.KILLING})


@dataclass(frozen=True, slots=True)
class JobState:
    phase: Phase = Phase.WAITING
    since: float = 0.0  # when it came into its phase
    deadline: float | None = None
    want_up: bool = True
    run: int = 0
    pid: int | None = None
    started: float = 0.0  # when its last run began
    status: int | None = None  # of its last run
    oom: bool = False  # its last run was killed for want of memory
    asked: bool = False  # this run's end was asked for
    asked_at: float = 0.0  # when its end was first asked for
    escalated: int = 0  # how many of the stop's further signals were sent
    resume: bool = False  # start again once empty, whatever the restarts say
    pending: bool = False  # an `each` event came while it was running
    restarts_left: int | None = 0  # None: without limit
    restarts: int = 0  # how often it has been restarted
    streak: Streak = Streak()
    appointment: calendar.Appointment | None = None  # of a job with `cron`


Effect = Action | facts.Fact
Step = tuple[JobState, tuple[Effect, ...]]


def initial(job: Job, now: float) -> JobState:
    timeout = 0.0 if job.when.cron is not None else job.when.timeout  # the first look at the clock is due at once
    return JobState(since=now, deadline=_after(now, timeout), restarts_left=job.restarts)


def step(
    job: Job,
    state: JobState,
    on: On,
    now: float,
    *,
    exited: Exited | None = None,
    pid: int | None = None,
    draw: float = 0.5,
    clock: calendar.Clock | None = None,
) -> Step:
    """The state after `on`, and what is to be done and said. `exited` comes with EXITED, `pid` with SPAWNED.

    `draw` is this step's one random number, uniform in [0, 1). `clock` is for jobs with `cron`.
    """
    return TABLE[state.phase, on](_Turn(job, state, now, exited, pid, draw, clock))


@dataclass(frozen=True, slots=True)
class _Turn:
    job: Job
    state: JobState
    now: float
    exited: Exited | None
    pid: int | None
    draw: float
    clock: calendar.Clock | None

    def to(self, phase: Phase, *effects: Effect, after: float | None = None, **changes: object) -> Step:
        """Into `phase`; its deadline is `after` seconds from now."""
        state = replace(self.state, phase=phase, since=self.now, deadline=_after(self.now, after), **changes)  # type: ignore[arg-type]
        return state, effects

    def stay(self, *effects: Effect, **changes: object) -> Step:
        return replace(self.state, **changes), effects  # type: ignore[arg-type]


def _after(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _ignore(t: _Turn) -> Step:
    return t.state, ()


# --- before a run ---


def _triggered(t: _Turn) -> Step:
    if t.job.when.delay > 0:
        return t.to(Phase.DELAYED, after=t.job.when.delay)
    return _launch(t)


def _launch(t: _Turn) -> Step:
    run = t.state.run + 1
    effect: Effect = Spawn(t.job.name, run, t.job, periodic=t.job.when.every is not None and run > 1)
    if not t.job.command.argv:
        effect = facts.JobStarted(t.job.name, run, 0)
    phase = Phase.STARTING if t.job.command.argv else Phase.RUNNING
    return t.to(phase, effect, run=run, pid=None, started=t.now, asked=False, resume=False, pending=False, want_up=True)


def _start(t: _Turn) -> Step:
    """A person starts a job that waits: this run is not the one it waits for."""
    return _launch(_with(t, appointment=None))


def _start_again(t: _Turn) -> Step:
    """A person starts a job that is over: it has its restarts back."""
    state, effects = _launch(t)
    return replace(state, restarts_left=t.job.restarts, streak=Streak()), effects


def _wait_timed_out(t: _Turn) -> Step:
    if t.job.when.cron is not None:
        return _look_at_clock(t)
    return _done(t, facts.WaitTimedOut(t.job.name, t.job.when.timeout or 0.0))


def _rested(t: _Turn) -> Step:
    return _launch(t) if t.job.when.cron is None else _look_at_clock(t)


def _look_at_clock(t: _Turn) -> Step:
    assert t.clock is not None, "a job with cron is told the time"
    seen = calendar.look(t.job.when, t.state.appointment, t.now + t.clock.ahead, t.clock.next_time)
    if seen.came:
        state, effects = _launch(_with(t, appointment=seen.upcoming))
        return state, (*_skipped(t, seen.skipped, late=True), *effects)
    return _wait_for(t, t.state.phase, seen, late=True)


def _wait_for(t: _Turn, phase: Phase, seen: calendar.Look, *, late: bool) -> Step:
    """Until the next look at the clock, a little after the time itself: timers may be early."""
    said = _skipped(t, seen.skipped, late=late)
    if seen.upcoming is None:
        return _done(t, *said)
    left = seen.upcoming.due - seen.upcoming.looked + 0.001
    return t.to(phase, *said, after=min(left, calendar.LOOK), appointment=seen.upcoming)


def _skipped(t: _Turn, count: int, *, late: bool = False) -> tuple[facts.Fact, ...]:
    return (facts.RunsSkipped(t.job.name, count, late),) if count else ()


def _abandon(t: _Turn) -> Step:
    waiting_for = ", ".join(f"{x.source or 'autopilot'} {x.event}" for x in t.job.when.triggers)
    return _done(t, facts.WaitAbandoned(t.job.name, waiting_for))


def _spawned(t: _Turn) -> Step:
    return t.to(Phase.RUNNING, facts.JobStarted(t.job.name, t.state.run, t.pid or 0), after=t.job.timeout, pid=t.pid)


# --- the end of a run ---


def _stop(t: _Turn) -> Step:
    return _signal(t, facts.JobStopping(t.job.name), want_up=False, asked=True)


def _hold(t: _Turn) -> Step:
    return t.to(
        Phase.HOLDING, facts.JobStopping(t.job.name), after=t.job.stopping_wait, want_up=False, asked=True, resume=False
    )


def _restart(t: _Turn) -> Step:
    return _signal(t, asked=True, resume=True)


def _reload(t: _Turn) -> Step:
    return t.stay(_signal_of(t.job, SIGHUP, t))


def _signal(t: _Turn, *said: facts.Fact, **changes: object) -> Step:
    begun = _with(t, asked_at=t.now, escalated=0, **changes)
    if not t.job.command.argv:
        return _settle(begun, said)
    return begun.to(Phase.STOPPING, *said, _signal_of(t.job, t.job.stop.signal, t), after=_patience(begun, 0))


def _signal_of(job: Job, number: int, t: _Turn) -> Signal:
    return Signal(job.name, t.state.run, number, job.stop.group)


def _patience(t: _Turn, escalated: int) -> float:
    """Seconds from now to the stop's next step: its next signal, or SIGKILL."""
    stop = t.job.stop
    next_step = stop.escalate[escalated][0] if escalated < len(stop.escalate) else stop.timeout
    return max(0.0, t.state.asked_at + min(next_step, stop.timeout) - t.now)


def _release(t: _Turn) -> Step:
    return _signal(t)


def _kill(t: _Turn) -> Step:
    return t.to(Phase.KILLING, Kill(t.job.name, t.state.run), after=REKILL_AFTER)


def _stop_step(t: _Turn) -> Step:
    """The stop's next signal, or, when its time is over, SIGKILL."""
    stop, sent = t.job.stop, t.state.escalated
    if sent < len(stop.escalate) and t.now < t.state.asked_at + stop.timeout:
        signal = _signal_of(t.job, stop.escalate[sent][1], t)
        return t.to(Phase.STOPPING, signal, after=_patience(t, sent + 1), escalated=sent + 1)
    state, effects = _kill(t)
    return state, (facts.JobKilled(t.job.name, t.now - t.state.asked_at), *effects)


def _run_timed_out(t: _Turn) -> Step:
    state, effects = _kill(t)
    return state, (facts.JobTimedOut(t.job.name, t.job.timeout or 0.0), *effects)


def _hurry(t: _Turn) -> Step:
    """Kill; but a job that has a last signal of its own gets that first, and a moment for it."""
    unwanted, escalate = _with(t, want_up=False, asked=True, resume=False), t.job.stop.escalate
    if not t.job.command.argv:
        return _settle(unwanted, ())
    if t.state.pid is None or t.state.escalated == len(escalate):
        return _kill(unwanted)
    last = _signal_of(t.job, escalate[-1][1], t)
    return unwanted.to(Phase.STOPPING, last, after=HURRY_GRACE, escalated=len(escalate), asked_at=t.now)


def _unwant(t: _Turn) -> Step:
    return t.stay(want_up=False, asked=True, resume=False)


def _retire(t: _Turn) -> Step:
    return t.stay(want_up=False, resume=False)


def _rewant(t: _Turn) -> Step:
    return t.stay(want_up=True, resume=True)


def _remember(t: _Turn) -> Step:
    return t.stay(pending=t.job.when.each)


def _exited(t: _Turn) -> Step:
    exited = t.exited
    assert exited is not None, "EXITED comes with its cue"
    said = _exit_facts(t, exited)
    if not exited.leftovers:
        return _settle(_with(t, status=exited.status, oom=exited.oom, pid=None), said)
    if t.state.phase in (Phase.STOPPING, Phase.KILLING):  # already asked: the deadline goes on
        return t.stay(*said, status=exited.status, oom=exited.oom, pid=None)
    # what a leader leaves behind would run beside the next one
    sweep = Signal(t.job.name, t.state.run, SIGTERM, True)
    none_left = len(t.job.stop.escalate)  # the further signals are the leader's
    begun = _with(t, asked_at=t.now, escalated=none_left, status=exited.status, oom=exited.oom, pid=None)
    return begun.to(Phase.STOPPING, *said, sweep, after=t.job.stop.timeout)


def _exit_facts(t: _Turn, exited: Exited) -> tuple[facts.Fact, ...]:
    name = t.job.name
    ended = facts.JobExited(
        name, t.state.run, exited.status, t.state.asked, exited.problem, exited.leftovers, exited.oom
    )
    result = facts.JobSucceeded(name) if exited.status == 0 else facts.JobFailed(name, exited.status)
    return ended, result


def _emptied(t: _Turn) -> Step:
    if t.state.pid is not None:
        return _ignore(t)  # a leader is alive: this is not the end of its run
    return _settle(t, ())


def _with(t: _Turn, **changes: object) -> _Turn:
    return replace(t, state=replace(t.state, **changes))  # type: ignore[arg-type]


# --- what comes next ---


def _settle(t: _Turn, said: tuple[facts.Fact, ...]) -> Step:
    """The job is empty: start again, wait for the next time, back off, or be done."""
    state, effects = _next(t)
    return state, (*said, *effects)


def _next(t: _Turn) -> Step:
    s, when = t.state, t.job.when
    if s.resume:
        state, effects = _launch(t)
        return replace(state, restarts=s.restarts + 1), effects
    if not s.want_up:
        return _done(t)
    if when.every is not None or when.cron is not None:
        return _rest_until_due(t)
    wanted = t.job.restart_after_success or s.status != 0
    if wanted and (s.restarts_left is None or s.restarts_left > 0):
        return _back_off(t)
    if when.each:
        again = _with(t, restarts_left=t.job.restarts)
        return _triggered(again) if s.pending else again.to(Phase.RESTING)
    return _done(t)


def _rest_until_due(t: _Turn) -> Step:
    if t.state.restarts_left == 0:
        return _done(t)
    every = t.job.when.every
    if every is None:
        return _rest_until_its_time(t)
    due = t.state.started + every
    missed = max(0, math.ceil((t.now - due) / every))
    return t.to(
        Phase.RESTING,
        *_skipped(t, missed),
        after=due + missed * every - t.now,
        restarts_left=_one_less(t.state.restarts_left),
    )


def _rest_until_its_time(t: _Turn) -> Step:
    assert t.clock is not None, "a job with cron is told the time"
    began, wall = t.state.started + t.clock.ahead, t.now + t.clock.ahead
    seen = calendar.after_run(t.job.when, t.state.appointment, began, wall, t.clock.next_time)
    return _wait_for(_with(t, restarts_left=_one_less(t.state.restarts_left)), Phase.RESTING, seen, late=False)


def _back_off(t: _Turn) -> Step:
    ran = t.now - t.state.started
    streak, delay, looping = after_run(t.job.backoff, t.state.streak, ran=ran, draw=t.draw)
    said: list[Effect] = [facts.RestartScheduled(t.job.name, delay, streak.failures)]
    if looping:
        said.append(facts.CrashLoopSeen(t.job.name, streak.failures, t.state.status or 0))
    left = _one_less(t.state.restarts_left)
    return t.to(Phase.BACKOFF, *said, after=delay, streak=streak, restarts_left=left, restarts=t.state.restarts + 1)


def _one_less(left: int | None) -> int | None:
    return None if left is None else left - 1


def _done(t: _Turn, *said: facts.Fact) -> Step:
    stopped = facts.JobStopped(t.job.name, t.state.status)
    # whoever waits for `stopping` must hear it also of a job that ended by itself
    before = () if t.state.asked else (facts.JobStopping(t.job.name),)
    return t.to(Phase.DONE, *said, *before, stopped, want_up=False, pid=None, pending=False)


def _done_unasked(t: _Turn) -> Step:
    return _done(t)


# --- the table ---

Cell = Callable[[_Turn], Step]
P = Phase


def _row(phase: Phase, **cells: Cell) -> dict[tuple[Phase, On], Cell]:
    return {(phase, on): cells.get(on.name.lower(), _ignore) for on in On}


_idle: dict[str, Cell] = {"stop": _done_unasked, "hold": _done_unasked, "retire": _done_unasked, "hurry": _done_unasked}
_to_start: dict[str, Cell] = {"start": _start, "restart": _start}
_alive: dict[str, Cell] = {"triggered": _remember, "exited": _exited, "retire": _retire, "hurry": _hurry}
_ending: dict[str, Cell] = {**_alive, "emptied": _emptied, "stop": _unwant, "hold": _unwant, "start": _rewant}

TABLE: dict[tuple[Phase, On], Cell] = {
    **_row(P.WAITING, triggered=_triggered, elapsed=_wait_timed_out, abandon=_abandon, **_idle, **_to_start),
    **_row(P.DELAYED, elapsed=_launch, **_idle, **_to_start),
    **_row(P.STARTING, spawned=_spawned, stop=_stop, hold=_stop, restart=_restart, **_alive),
    **_row(P.RUNNING, elapsed=_run_timed_out, stop=_stop, hold=_hold, restart=_restart, reload=_reload, **_alive),
    **_row(P.HOLDING, exited=_exited, release=_release, elapsed=_release, hurry=_hurry),
    **_row(P.STOPPING, elapsed=_stop_step, restart=_rewant, **_ending),
    **_row(P.KILLING, elapsed=_kill, restart=_rewant, **{**_ending, "hurry": _ignore}),
    **_row(P.BACKOFF, elapsed=_launch, **_idle, **_to_start),
    **_row(P.RESTING, elapsed=_rested, triggered=_triggered, abandon=_abandon, **_idle, **_to_start),
    **_row(P.DONE, start=_start_again, restart=_start_again),
}
