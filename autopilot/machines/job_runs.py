"""Decide when a job starts, and what follows when a run of it is over."""

from __future__ import annotations

import math
from dataclasses import replace

from autopilot.machines import cron_schedule, events
from autopilot.machines.actions import Spawn
from autopilot.machines.backoff import CRASH_LOOP_FAILURES, FailureStreak, compute_backoff
from autopilot.machines.job_state import Effect, JobContext, Phase, Step

MAX_STARTUP_GRACE_S = 600.0  # that a job has from its own last run, beside its back-off, which may be longer
TIMER_MARGIN_S = 0.001  # s after a time of the calendar that the clock is checked: timers may be early

# --- before a run ---


def start_or_delay(t: JobContext) -> Step:
    """Start the job after the delay of its `when`."""
    if t.job.when.delay > 0:
        return t.enter_phase(Phase.DELAYED, deadline_in=t.job.when.delay)
    return launch(t)


def launch(t: JobContext) -> Step:
    """Start a run: request its process, or be RUNNING at once without one."""
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
        stop_announced=False,
        restart_when_empty=False,
        recycle_cause="",
        trigger_pending=False,
        want_up=True,
        given_up="",
        has_run=True,
        run_over=False,
        pre_stop_over=False,
    )


def start_by_request(t: JobContext) -> Step:
    """Start a job that waits: an operator asked, so the run that it waits for is still to come."""
    return launch(t.update_state(next_run=None))


def start_with_fresh_restarts(t: JobContext) -> Step:
    """Start a job that is over: an operator asked, so it has its restarts back."""
    state, effects = launch(t)
    fresh = replace(state, restarts_remaining=t.job.restarts, streak=FailureStreak(), startup_grace=0.0)
    return fresh, effects


def handle_spawned(t: JobContext) -> Step:
    """Note the process; the run's timeout counts from now."""
    return t.enter_phase(
        Phase.RUNNING, events.JobStarted(t.job.name, t.state.run, t.pid or 0), deadline_in=t.job.timeout, pid=t.pid
    )


def handle_wait_timeout(t: JobContext) -> Step:
    """Give up the wait for the `when`; a job with `cron` checks the clock."""
    if t.job.when.cron is not None:
        return check_clock(t)
    timeout = t.job.when.timeout or 0.0
    waited = f"it waited {timeout:g} s for {_describe_triggers(t)}"
    return finish(t.update_state(given_up=waited), events.WaitTimedOut(t.job.name, timeout))


def finish_rest(t: JobContext) -> Step:
    """Start the next periodic run, or check the clock for the next time of `cron`."""
    return launch(t) if t.job.when.cron is None else check_clock(t)


def check_clock(t: JobContext) -> Step:
    """Start the job when a time of its `cron` has come; else wait for the next one."""
    assert t.clock is not None, "the wall clock comes with every step of a job with cron"
    check = cron_schedule.check_clock(t.job.when, t.state.next_run, t.now + t.clock.wall_offset, t.clock.next_time)
    if check.is_due and t.is_held:  # its time stays due: the run begins when it is held no longer, unless that is late
        return t.enter_phase(t.state.phase, deadline_in=cron_schedule.CLOCK_CHECK_INTERVAL_S)
    if check.is_due:
        state, effects = launch(t.update_state(next_run=check.next_run))
        return state, (*_report_skipped_runs(t, check.skipped, late=True), *effects)
    return _wait_until_next_run(t, t.state.phase, check, late=True)


def _wait_until_next_run(t: JobContext, phase: Phase, check: cron_schedule.ClockCheck, *, late: bool) -> Step:
    reports = _report_skipped_runs(t, check.skipped, late=late)
    if check.next_run is None:
        never_ran = phase is Phase.WAITING
        waited = f"it waited for a time of its cron {t.job.when.cron!r}, and there is none"
        return finish(t.update_state(given_up=waited if never_ran else ""), *reports)
    remaining = check.next_run.due - check.next_run.checked_at + TIMER_MARGIN_S
    return t.enter_phase(
        phase, *reports, deadline_in=min(remaining, cron_schedule.CLOCK_CHECK_INTERVAL_S), next_run=check.next_run
    )


def _report_skipped_runs(t: JobContext, count: int, *, late: bool = False) -> tuple[events.Event, ...]:
    return (events.RunsSkipped(t.job.name, count, late),) if count else ()


def cancel_wait(t: JobContext) -> Step:
    """Give up the wait: the source of an event in the `when` is over."""
    waiting_for, never_ran = _describe_triggers(t), t.state.phase is Phase.WAITING
    given_up = t.update_state(given_up=f"it waited for {waiting_for}" if never_ran else "")
    return finish(given_up, events.WaitAbandoned(t.job.name, waiting_for))


def _describe_triggers(t: JobContext) -> str:
    return ", ".join(f"{x.source or 'autopilot'} {x.event}" for x in t.missing_triggers or t.job.when.triggers)


# --- after a run ---


def finish_run(t: JobContext, *emitted: events.Event) -> Step:
    """Choose the phase after a run whose last process is gone: start again, rest, back off, or be done."""
    state, effects = _choose_next_phase(t)
    return state, (*emitted, *effects)


def _choose_next_phase(t: JobContext) -> Step:
    s, when = t.state, t.job.when
    if s.restart_when_empty or not s.want_up:
        return _follow_request(t)
    if s.recycle_cause:
        return _back_off(t, s.restarts_remaining)
    if when.every is not None or when.cron is not None:
        return _rest_until_due(t)
    must_run_again = t.job.restart_after_success or s.status != 0
    if must_run_again and (s.restarts_remaining is None or s.restarts_remaining > 0):
        return _back_off(t, _consume_restart(s.restarts_remaining))
    if when.each:
        again = t.update_state(restarts_remaining=t.job.restarts)
        return start_or_delay(again) if s.trigger_pending else again.enter_phase(Phase.RESTING)
    return finish(t)


def _follow_request(t: JobContext) -> Step:
    """Start again at once, or be done, as requested during the run."""
    if not t.state.restart_when_empty:
        return finish(t)
    state, effects = launch(t)
    return replace(state, restarts=t.state.restarts + 1), effects


def _rest_until_due(t: JobContext) -> Step:
    if t.state.restarts_remaining == 0:
        return finish(t)
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


def _rest_until_cron_time(t: JobContext) -> Step:
    assert t.clock is not None, "the wall clock comes with every step of a job with cron"
    began, wall = t.state.started + t.clock.wall_offset, t.now + t.clock.wall_offset
    check = cron_schedule.plan_next_run(t.job.when, t.state.next_run, began, wall, t.clock.next_time)
    counted = t.update_state(restarts_remaining=_consume_restart(t.state.restarts_remaining))
    return _wait_until_next_run(counted, Phase.RESTING, check, late=False)


def _back_off(t: JobContext, restarts_remaining: int | None) -> Step:
    ran_for = t.now - t.state.started
    never_came_up = bool(t.state.recycle_cause) and not t.was_healthy  # such a run is no good one, however long it was
    streak, delay, looping = compute_backoff(
        t.job.backoff, t.state.streak, run_seconds=0.0 if never_came_up else ran_for, draw=t.draw
    )
    grace = max(delay, min(ran_for, MAX_STARTUP_GRACE_S)) if never_came_up else delay
    reports: list[Effect] = [events.RestartScheduled(t.job.name, delay, streak.failures)]
    if looping:
        status, cause = t.state.status or 0, t.state.recycle_cause
        reports.append(events.CrashLoopDetected(t.job.name, streak.failures, status, cause))
    return t.enter_phase(
        Phase.BACKOFF,
        *reports,
        deadline_in=delay,
        streak=streak,
        restarts_remaining=restarts_remaining,
        restarts=t.state.restarts + 1,
        startup_grace=grace if streak.failures >= CRASH_LOOP_FAILURES else 0.0,
    )


def _consume_restart(restarts_remaining: int | None) -> int | None:
    return None if restarts_remaining is None else restarts_remaining - 1


def finish(t: JobContext, *emitted: events.Event) -> Step:
    """Be done, after the pre-stop jobs.

    A job that ended by itself announces its stop, too, for those that wait for `stopping`; an unstarted job does not.
    """
    s = t.state
    announcement = () if s.stop_announced or not s.has_run else (events.JobStopping(t.job.name),)
    if t.has_pre_stop_jobs and s.has_run and not s.pre_stop_over:
        over = t.update_state(want_up=False, pid=None, run_over=True, stop_announced=True, trigger_pending=False)
        if s.phase is Phase.HOLDING:  # their time goes on
            return over.keep_phase(*emitted)
        return over.enter_phase(Phase.HOLDING, *emitted, *announcement, deadline_in=t.job.stopping_wait)
    stopped = events.JobStopped(t.job.name, t.state.status)
    return t.enter_phase(
        Phase.DONE,
        *emitted,
        *announcement,
        stopped,
        want_up=False,
        pid=None,
        stop_announced=True,
        trigger_pending=False,
    )


def finish_idle(t: JobContext) -> Step:
    """Be done without a run."""
    return finish(t)


def hurry_idle(t: JobContext) -> Step:
    """Be done without a run; no time is left for pre-stop jobs."""
    return finish(t.update_state(pre_stop_over=True))


def stop_idle(t: JobContext) -> Step:
    """Be done without a run, by request: the status of an earlier run is no failure any more."""
    return finish(t.update_state(stop_requested=True))
