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

from autopilot.machines import cron_schedule, events
from autopilot.machines.actions import Action, Kill, Signal, Spawn
from autopilot.machines.backoff import FailureStreak, compute_backoff
from autopilot.machines.cues import Exited
from autopilot.spec.plan import Job

SIGHUP, SIGTERM = 1, 15
REKILL_INTERVAL_S = 2.0  # s; a process in uninterruptible sleep takes its SIGKILL when it wakes
HURRY_GRACE_S = 1.0  # s that a hurried job has for its last signal: a batch system gives its payloads back in 0.1-0.3 s


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


class Input(Enum):
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


ALIVE_PHASES = frozenset({Phase.STARTING, Phase.RUNNING, Phase.HOLDING, Phase.STOPPING, Phase.KILLING})


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
    stop_requested: bool = False  # this run's end was asked for
    stop_requested_at: float = 0.0  # when its end was first asked for
    escalations_sent: int = 0  # how many of the stop's further signals were sent
    restart_when_empty: bool = False  # start again once empty, whatever the restarts say
    trigger_pending: bool = False  # an `each` event came while it was running
    restarts_remaining: int | None = 0  # None: without limit
    restarts: int = 0  # how often it has been restarted
    streak: FailureStreak = FailureStreak()
    next_run: cron_schedule.NextRun | None = None  # of a job with `cron`


Effect = Action | events.Event
Step = tuple[JobState, tuple[Effect, ...]]


def build_initial_state(job: Job, now: float) -> JobState:
    timeout = 0.0 if job.when.cron is not None else job.when.timeout  # the first look at the clock is due at once
    return JobState(since=now, deadline=_compute_deadline(now, timeout), restarts_remaining=job.restarts)


def step(
    job: Job,
    state: JobState,
    on: Input,
    now: float,
    *,
    exited: Exited | None = None,
    pid: int | None = None,
    draw: float = 0.5,
    clock: cron_schedule.Clock | None = None,
) -> Step:
    """The state after `on`, and what is to be done and said. `exited` comes with EXITED, `pid` with SPAWNED.

    `draw` is this step's one random number, uniform in [0, 1). `clock` is for jobs with `cron`.
    """
    return TABLE[state.phase, on](_StepContext(job, state, now, exited, pid, draw, clock))


@dataclass(frozen=True, slots=True)
class _StepContext:
    job: Job
    state: JobState
    now: float
    exited: Exited | None
    pid: int | None
    draw: float
    clock: cron_schedule.Clock | None

    def enter_phase(self, phase: Phase, *effects: Effect, deadline_in: float | None = None, **changes: object) -> Step:
        """Enter `phase` with a deadline `deadline_in` seconds from now."""
        deadline = _compute_deadline(self.now, deadline_in)
        state = replace(self.state, phase=phase, since=self.now, deadline=deadline, **changes)  # type: ignore[arg-type]
        return state, effects

    def keep_phase(self, *effects: Effect, **changes: object) -> Step:
        return replace(self.state, **changes), effects  # type: ignore[arg-type]


def _compute_deadline(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _ignore(t: _StepContext) -> Step:
    return t.state, ()


# --- before a run ---


def _start_or_delay(t: _StepContext) -> Step:
    if t.job.when.delay > 0:
        return t.enter_phase(Phase.DELAYED, deadline_in=t.job.when.delay)
    return _launch(t)


def _launch(t: _StepContext) -> Step:
    run = t.state.run + 1
    effect: Effect = Spawn(t.job.name, run, t.job, periodic=t.job.when.every is not None and run > 1)
    if not t.job.command.argv:
        effect = events.JobStarted(t.job.name, run, 0)
    phase = Phase.STARTING if t.job.command.argv else Phase.RUNNING
    return t.enter_phase(
        phase,
        effect,
        run=run,
        pid=None,
        started=t.now,
        stop_requested=False,
        restart_when_empty=False,
        trigger_pending=False,
        want_up=True,
    )


def _start_by_request(t: _StepContext) -> Step:
    """A person starts a job that waits: this run is not the one it waits for."""
    return _launch(_update_state(t, next_run=None))


def _start_with_fresh_restarts(t: _StepContext) -> Step:
    """A person starts a job that is over: it has its restarts back."""
    state, effects = _launch(t)
    return replace(state, restarts_remaining=t.job.restarts, streak=FailureStreak()), effects


def _handle_wait_timeout(t: _StepContext) -> Step:
    if t.job.when.cron is not None:
        return _check_clock(t)
    return _finish(t, events.WaitTimedOut(t.job.name, t.job.when.timeout or 0.0))


def _finish_rest(t: _StepContext) -> Step:
    return _launch(t) if t.job.when.cron is None else _check_clock(t)


def _check_clock(t: _StepContext) -> Step:
    assert t.clock is not None, "a job with cron is told the time"
    seen = cron_schedule.check_clock(t.job.when, t.state.next_run, t.now + t.clock.wall_offset, t.clock.next_time)
    if seen.is_due:
        state, effects = _launch(_update_state(t, next_run=seen.next_run))
        return state, (*_report_skipped_runs(t, seen.skipped, late=True), *effects)
    return _wait_until_next_run(t, t.state.phase, seen, late=True)


def _wait_until_next_run(t: _StepContext, phase: Phase, check: cron_schedule.ClockCheck, *, late: bool) -> Step:
    """Until the next look at the clock, a little after the time itself: timers may be early."""
    said = _report_skipped_runs(t, check.skipped, late=late)
    if check.next_run is None:
        return _finish(t, *said)
    left = check.next_run.due - check.next_run.checked_at + 0.001
    return t.enter_phase(
        phase, *said, deadline_in=min(left, cron_schedule.CLOCK_CHECK_INTERVAL_S), next_run=check.next_run
    )


def _report_skipped_runs(t: _StepContext, count: int, *, late: bool = False) -> tuple[events.Event, ...]:
    return (events.RunsSkipped(t.job.name, count, late),) if count else ()


def _cancel_wait(t: _StepContext) -> Step:
    waiting_for = ", ".join(f"{x.source or 'autopilot'} {x.event}" for x in t.job.when.triggers)
    return _finish(t, events.WaitAbandoned(t.job.name, waiting_for))


def _handle_spawned(t: _StepContext) -> Step:
    return t.enter_phase(
        Phase.RUNNING, events.JobStarted(t.job.name, t.state.run, t.pid or 0), deadline_in=t.job.timeout, pid=t.pid
    )


# --- the end of a run ---


def _stop(t: _StepContext) -> Step:
    return _send_stop_signal(t, events.JobStopping(t.job.name), want_up=False, stop_requested=True)


def _hold(t: _StepContext) -> Step:
    return t.enter_phase(
        Phase.HOLDING,
        events.JobStopping(t.job.name),
        deadline_in=t.job.stopping_wait,
        want_up=False,
        stop_requested=True,
        restart_when_empty=False,
    )


def _restart(t: _StepContext) -> Step:
    return _send_stop_signal(t, stop_requested=True, restart_when_empty=True)


def _reload(t: _StepContext) -> Step:
    return t.keep_phase(_build_signal(t.job, SIGHUP, t))


def _send_stop_signal(t: _StepContext, *emitted: events.Event, **changes: object) -> Step:
    begun = _update_state(t, stop_requested_at=t.now, escalations_sent=0, **changes)
    if not t.job.command.argv:
        return _finish_run(begun, emitted)
    return begun.enter_phase(
        Phase.STOPPING, *emitted, _build_signal(t.job, t.job.stop.signal, t), deadline_in=_compute_stop_wait(begun, 0)
    )


def _build_signal(job: Job, number: int, t: _StepContext) -> Signal:
    return Signal(job.name, t.state.run, number, job.stop.group)


def _compute_stop_wait(t: _StepContext, escalations_sent: int) -> float:
    """Seconds from now to the stop's next step: its next signal, or SIGKILL."""
    stop = t.job.stop
    next_step = stop.escalate[escalations_sent][0] if escalations_sent < len(stop.escalate) else stop.timeout
    return max(0.0, t.state.stop_requested_at + min(next_step, stop.timeout) - t.now)


def _release_stop(t: _StepContext) -> Step:
    return _send_stop_signal(t)


def _kill(t: _StepContext) -> Step:
    return t.enter_phase(Phase.KILLING, Kill(t.job.name, t.state.run), deadline_in=REKILL_INTERVAL_S)


def _continue_stop(t: _StepContext) -> Step:
    """The stop's next signal, or, when its time is over, SIGKILL."""
    stop, sent = t.job.stop, t.state.escalations_sent
    if sent < len(stop.escalate) and t.now < t.state.stop_requested_at + stop.timeout:
        signal = _build_signal(t.job, stop.escalate[sent][1], t)
        return t.enter_phase(
            Phase.STOPPING, signal, deadline_in=_compute_stop_wait(t, sent + 1), escalations_sent=sent + 1
        )
    state, effects = _kill(t)
    return state, (events.JobKilled(t.job.name, t.now - t.state.stop_requested_at), *effects)


def _handle_run_timeout(t: _StepContext) -> Step:
    state, effects = _kill(t)
    return state, (events.JobTimedOut(t.job.name, t.job.timeout or 0.0), *effects)


def _hurry(t: _StepContext) -> Step:
    """Kill; but a job that has a last signal of its own gets that first, and a moment for it."""
    unwanted, escalate = (
        _update_state(t, want_up=False, stop_requested=True, restart_when_empty=False),
        t.job.stop.escalate,
    )
    if not t.job.command.argv:
        return _finish_run(unwanted, ())
    if t.state.pid is None or t.state.escalations_sent == len(escalate):
        return _kill(unwanted)
    last = _build_signal(t.job, escalate[-1][1], t)
    return unwanted.enter_phase(
        Phase.STOPPING, last, deadline_in=HURRY_GRACE_S, escalations_sent=len(escalate), stop_requested_at=t.now
    )


def _cancel_restart(t: _StepContext) -> Step:
    return t.keep_phase(want_up=False, stop_requested=True, restart_when_empty=False)


def _disable_restart(t: _StepContext) -> Step:
    return t.keep_phase(want_up=False, restart_when_empty=False)


def _request_restart(t: _StepContext) -> Step:
    return t.keep_phase(want_up=True, restart_when_empty=True)


def _remember_trigger(t: _StepContext) -> Step:
    return t.keep_phase(trigger_pending=t.job.when.each)


def _handle_exited(t: _StepContext) -> Step:
    exited = t.exited
    assert exited is not None, "EXITED comes with its cue"
    said = _build_exit_events(t, exited)
    if not exited.leftovers:
        return _finish_run(_update_state(t, status=exited.status, oom=exited.oom, pid=None), said)
    if t.state.phase in (Phase.STOPPING, Phase.KILLING):  # already asked: the deadline goes on
        return t.keep_phase(*said, status=exited.status, oom=exited.oom, pid=None)
    # what a leader leaves behind would run beside the next one
    sweep = Signal(t.job.name, t.state.run, SIGTERM, True)
    none_left = len(t.job.stop.escalate)  # the further signals are the leader's
    begun = _update_state(
        t, stop_requested_at=t.now, escalations_sent=none_left, status=exited.status, oom=exited.oom, pid=None
    )
    return begun.enter_phase(Phase.STOPPING, *said, sweep, deadline_in=t.job.stop.timeout)


def _build_exit_events(t: _StepContext, exited: Exited) -> tuple[events.Event, ...]:
    name = t.job.name
    ended = events.JobExited(
        name, t.state.run, exited.status, t.state.stop_requested, exited.problem, exited.leftovers, exited.oom
    )
    result = events.JobSucceeded(name) if exited.status == 0 else events.JobFailed(name, exited.status)
    return ended, result


def _handle_emptied(t: _StepContext) -> Step:
    if t.state.pid is not None:
        return _ignore(t)  # a leader is alive: this is not the end of its run
    return _finish_run(t, ())


def _update_state(t: _StepContext, **changes: object) -> _StepContext:
    return replace(t, state=replace(t.state, **changes))  # type: ignore[arg-type]


# --- what comes next ---


def _finish_run(t: _StepContext, emitted: tuple[events.Event, ...]) -> Step:
    """The job is empty: start again, wait for the next time, back off, or be done."""
    state, effects = _choose_next_phase(t)
    return state, (*emitted, *effects)


def _choose_next_phase(t: _StepContext) -> Step:
    s, when = t.state, t.job.when
    if s.restart_when_empty:
        state, effects = _launch(t)
        return replace(state, restarts=s.restarts + 1), effects
    if not s.want_up:
        return _finish(t)
    if when.every is not None or when.cron is not None:
        return _rest_until_due(t)
    wanted = t.job.restart_after_success or s.status != 0
    if wanted and (s.restarts_remaining is None or s.restarts_remaining > 0):
        return _back_off(t)
    if when.each:
        again = _update_state(t, restarts_remaining=t.job.restarts)
        return _start_or_delay(again) if s.trigger_pending else again.enter_phase(Phase.RESTING)
    return _finish(t)


def _rest_until_due(t: _StepContext) -> Step:
    if t.state.restarts_remaining == 0:
        return _finish(t)
    every = t.job.when.every
    if every is None:
        return _rest_until_cron_time(t)
    due = t.state.started + every
    missed = max(0, math.ceil((t.now - due) / every))
    return t.enter_phase(
        Phase.RESTING,
        *_report_skipped_runs(t, missed),
        deadline_in=due + missed * every - t.now,
        restarts_remaining=_consume_restart(t.state.restarts_remaining),
    )


def _rest_until_cron_time(t: _StepContext) -> Step:
    assert t.clock is not None, "a job with cron is told the time"
    began, wall = t.state.started + t.clock.wall_offset, t.now + t.clock.wall_offset
    seen = cron_schedule.plan_next_run(t.job.when, t.state.next_run, began, wall, t.clock.next_time)
    return _wait_until_next_run(
        _update_state(t, restarts_remaining=_consume_restart(t.state.restarts_remaining)),
        Phase.RESTING,
        seen,
        late=False,
    )


def _back_off(t: _StepContext) -> Step:
    ran = t.now - t.state.started
    streak, delay, looping = compute_backoff(t.job.backoff, t.state.streak, run_seconds=ran, draw=t.draw)
    said: list[Effect] = [events.RestartScheduled(t.job.name, delay, streak.failures)]
    if looping:
        said.append(events.CrashLoopDetected(t.job.name, streak.failures, t.state.status or 0))
    left = _consume_restart(t.state.restarts_remaining)
    return t.enter_phase(
        Phase.BACKOFF, *said, deadline_in=delay, streak=streak, restarts_remaining=left, restarts=t.state.restarts + 1
    )


def _consume_restart(restarts_remaining: int | None) -> int | None:
    return None if restarts_remaining is None else restarts_remaining - 1


def _finish(t: _StepContext, *emitted: events.Event) -> Step:
    stopped = events.JobStopped(t.job.name, t.state.status)
    # whoever waits for `stopping` must hear it also of a job that ended by itself
    before = () if t.state.stop_requested else (events.JobStopping(t.job.name),)
    return t.enter_phase(Phase.DONE, *emitted, *before, stopped, want_up=False, pid=None, trigger_pending=False)


def _finish_idle(t: _StepContext) -> Step:
    return _finish(t)


# --- the table ---

Cell = Callable[[_StepContext], Step]
P = Phase


def _build_row(phase: Phase, **cells: Cell) -> dict[tuple[Phase, Input], Cell]:
    return {(phase, on): cells.get(on.name.lower(), _ignore) for on in Input}


_idle_cells: dict[str, Cell] = {
    "stop": _finish_idle,
    "hold": _finish_idle,
    "retire": _finish_idle,
    "hurry": _finish_idle,
}
_start_cells: dict[str, Cell] = {"start": _start_by_request, "restart": _start_by_request}
_alive_cells: dict[str, Cell] = {
    "triggered": _remember_trigger,
    "exited": _handle_exited,
    "retire": _disable_restart,
    "hurry": _hurry,
}
_ending_cells: dict[str, Cell] = {
    **_alive_cells,
    "emptied": _handle_emptied,
    "stop": _cancel_restart,
    "hold": _cancel_restart,
    "start": _request_restart,
}

TABLE: dict[tuple[Phase, Input], Cell] = {
    **_build_row(
        P.WAITING,
        triggered=_start_or_delay,
        elapsed=_handle_wait_timeout,
        abandon=_cancel_wait,
        **_idle_cells,
        **_start_cells,
    ),
    **_build_row(P.DELAYED, elapsed=_launch, **_idle_cells, **_start_cells),
    **_build_row(P.STARTING, spawned=_handle_spawned, stop=_stop, hold=_stop, restart=_restart, **_alive_cells),
    **_build_row(
        P.RUNNING, elapsed=_handle_run_timeout, stop=_stop, hold=_hold, restart=_restart, reload=_reload, **_alive_cells
    ),
    **_build_row(P.HOLDING, exited=_handle_exited, release=_release_stop, elapsed=_release_stop, hurry=_hurry),
    **_build_row(P.STOPPING, elapsed=_continue_stop, restart=_request_restart, **_ending_cells),
    **_build_row(P.KILLING, elapsed=_kill, restart=_request_restart, **{**_ending_cells, "hurry": _ignore}),
    **_build_row(P.BACKOFF, elapsed=_launch, **_idle_cells, **_start_cells),
    **_build_row(
        P.RESTING, elapsed=_finish_rest, triggered=_start_or_delay, abandon=_cancel_wait, **_idle_cells, **_start_cells
    ),
    **_build_row(P.DONE, start=_start_with_fresh_restarts, restart=_start_with_fresh_restarts),
}
