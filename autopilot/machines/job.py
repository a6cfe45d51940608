"""Supervise one job: when it starts, how it ends, and if it runs again.

Theory of operation. `phase` is the job's activity, `want_up` the wish for it; the two never share a field. Every phase
has at most one deadline. A run ends in two steps: its leader exits, then the job is *empty* (no process of it is left);
only an empty job moves on, so two runs of one job never overlap. Every end of a run leads to `finish_run`, which alone
decides on the next phase. Every restart that no operator asked for waits in BACKOFF and counts in one streak, whether
the run ended by itself or was ended by its health check or a changed template. An operator's last wish wins: a start
during a stop is carried out when the stop is complete, and a stop during a restart cancels the new run.

A job without a command has no process: it is RUNNING from its start to its stop, for the sake of its health check.

`TABLE` has a cell for every phase and input; docs/state-machines.md draws it. The actions are in `job_runs` and
`job_stops`.
"""

from __future__ import annotations

from autopilot.machines import cron_schedule
from autopilot.machines.cues import Exited
from autopilot.machines.job_runs import (
    cancel_wait,
    finish_idle,
    finish_rest,
    handle_spawned,
    handle_wait_timeout,
    hurry_idle,
    launch,
    start_by_request,
    start_or_delay,
    start_with_fresh_restarts,
    stop_idle,
)
from autopilot.machines.job_state import (
    ALIVE_PHASES,
    IDLE_PHASES,
    WAITING_PHASES,
    Effect,
    Input,
    JobContext,
    JobState,
    Phase,
    Step,
    build_initial_state,
)
from autopilot.machines.job_stops import (
    ask_to_end,
    cancel_start,
    continue_stop,
    disable_restart,
    handle_emptied,
    handle_exit,
    handle_run_timeout,
    hold,
    hurry,
    hurry_kill,
    kill,
    record_pid,
    recycle,
    release,
    remember_trigger,
    request_start,
    restart,
    send_reload,
    stop,
)
from autopilot.machines.tables import IGNORE, Cell, build_table
from autopilot.spec.plan import Job, Trigger

__all__ = [
    "ALIVE_PHASES",
    "IDLE_PHASES",
    "TABLE",
    "WAITING_PHASES",
    "Effect",
    "Input",
    "JobState",
    "Phase",
    "Step",
    "build_initial_state",
    "step",
]


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
    has_pre_stop_jobs: bool = False,
    cause: str = "",
    is_held: bool = False,
    was_healthy: bool = True,
    missing_triggers: tuple[Trigger, ...] = (),
) -> Step:
    """Return the state after an input, and the actions and events that follow from it, in order.

    Args:
        job: The job's plan.
        state: The state before.
        on: The input.
        now: Seconds on the core's clock.
        exited: The exit that EXITED reports.
        pid: The process that SPAWNED reports.
        draw: The step's one random number, uniform in [0, 1).
        clock: The wall clock, for a job with `cron`.
        has_pre_stop_jobs: True while jobs wait for this one's `stopping`, or run because of it.
        cause: The reason of RECYCLE, as the end of a sentence on the run.
        is_held: True while files of the job are not rendered: a job with `cron` does not run yet.
        was_healthy: False if the job's check has never passed in its last run.
        missing_triggers: Triggers of the `when` that have not matched, with the end of a wait.
    """
    context = JobContext(
        state, now, job, exited, pid, draw, clock, has_pre_stop_jobs, cause, is_held, was_healthy, missing_triggers
    )
    return TABLE[state.phase, on](context)


Row = dict[str, Cell[JobContext, Step]]
P = Phase

TABLE = build_table(
    Phase,
    Input,
    waiting=Row(
        triggered=Cell(start_or_delay, P.DELAYED, P.STARTING, P.RUNNING),
        spawned=IGNORE,
        exited=IGNORE,
        emptied=IGNORE,
        elapsed=Cell(handle_wait_timeout, P.STARTING, P.RUNNING, P.DONE),
        stop=Cell(stop_idle, P.DONE),
        hold=Cell(stop_idle, P.DONE),
        release=IGNORE,
        start=Cell(start_by_request, P.STARTING, P.RUNNING),
        restart=Cell(start_by_request, P.STARTING, P.RUNNING),
        recycle=IGNORE,
        reload=IGNORE,
        retire=Cell(finish_idle, P.DONE),
        ask=Cell(stop_idle, P.DONE),
        hurry=Cell(hurry_idle, P.DONE),
        abandon=Cell(cancel_wait, P.DONE),
    ),
    delayed=Row(
        triggered=IGNORE,  # the run to come is for this event too
        spawned=IGNORE,
        exited=IGNORE,
        emptied=IGNORE,
        elapsed=Cell(launch, P.STARTING, P.RUNNING),
        stop=Cell(stop_idle, P.HOLDING, P.DONE),
        hold=Cell(stop_idle, P.HOLDING, P.DONE),
        release=IGNORE,
        start=Cell(start_by_request, P.STARTING, P.RUNNING),
        restart=Cell(start_by_request, P.STARTING, P.RUNNING),
        recycle=IGNORE,
        reload=IGNORE,
        retire=Cell(finish_idle, P.HOLDING, P.DONE),
        ask=Cell(stop_idle, P.HOLDING, P.DONE),
        hurry=Cell(hurry_idle, P.DONE),
        abandon=IGNORE,
    ),
    starting=Row(
        triggered=Cell(remember_trigger),
        spawned=Cell(handle_spawned, P.RUNNING),
        exited=Cell(handle_exit, P.DELAYED, P.BACKOFF, P.RESTING, P.HOLDING, P.DONE),
        emptied=IGNORE,
        elapsed=IGNORE,  # a start has no deadline: it may wait for a lock
        stop=Cell(stop, P.STOPPING),
        hold=Cell(stop, P.STOPPING),
        release=IGNORE,
        start=IGNORE,  # it is on its way
        restart=Cell(restart, P.STOPPING),
        recycle=IGNORE,
        reload=IGNORE,  # it will read its configuration as it starts
        retire=Cell(disable_restart),
        ask=Cell(stop, P.STOPPING),
        hurry=Cell(hurry, P.KILLING),
        abandon=IGNORE,
    ),
    running=Row(
        triggered=Cell(remember_trigger),
        spawned=IGNORE,
        exited=Cell(handle_exit, P.DELAYED, P.STARTING, P.STOPPING, P.BACKOFF, P.RESTING, P.HOLDING, P.DONE),
        emptied=IGNORE,
        elapsed=Cell(handle_run_timeout, P.KILLING),
        stop=Cell(stop, P.STOPPING, P.DONE),
        hold=Cell(hold, P.HOLDING),
        release=IGNORE,
        start=IGNORE,  # it is up; after RETIRE too, which concerns the next run
        restart=Cell(restart, P.STOPPING),
        recycle=Cell(recycle, P.STOPPING, P.BACKOFF),
        reload=Cell(send_reload),
        retire=Cell(disable_restart),
        ask=Cell(ask_to_end),
        hurry=Cell(hurry, P.STOPPING, P.KILLING, P.DONE),
        abandon=IGNORE,
    ),
    holding=Row(
        triggered=IGNORE,  # only a start begins another run, and that one is for this event too
        spawned=IGNORE,
        exited=Cell(handle_exit, P.STARTING, P.STOPPING, P.DONE),
        emptied=IGNORE,
        elapsed=Cell(release, P.STARTING, P.RUNNING, P.STOPPING, P.DONE),
        stop=Cell(cancel_start),
        hold=Cell(cancel_start),
        release=Cell(release, P.STARTING, P.RUNNING, P.STOPPING, P.DONE),
        start=Cell(request_start),
        restart=Cell(request_start),
        recycle=IGNORE,
        reload=Cell(send_reload),
        retire=Cell(disable_restart),
        ask=Cell(disable_restart),
        hurry=Cell(hurry, P.STOPPING, P.KILLING, P.DONE),
        abandon=IGNORE,
    ),
    stopping=Row(
        triggered=Cell(remember_trigger),
        spawned=Cell(record_pid),
        exited=Cell(handle_exit, P.STARTING, P.BACKOFF, P.HOLDING, P.DONE),
        emptied=Cell(handle_emptied, P.DELAYED, P.STARTING, P.BACKOFF, P.RESTING, P.HOLDING, P.DONE),
        elapsed=Cell(continue_stop, P.KILLING),
        stop=Cell(cancel_start),
        hold=Cell(cancel_start),
        release=IGNORE,
        start=Cell(request_start),
        restart=Cell(request_start),
        recycle=IGNORE,
        reload=IGNORE,  # the next run reads its configuration as it starts
        retire=Cell(disable_restart),
        ask=Cell(disable_restart),
        hurry=Cell(hurry, P.KILLING),
        abandon=IGNORE,
    ),
    killing=Row(
        triggered=Cell(remember_trigger),
        spawned=Cell(record_pid),
        exited=Cell(handle_exit, P.DELAYED, P.STARTING, P.BACKOFF, P.RESTING, P.HOLDING, P.DONE),
        emptied=Cell(handle_emptied, P.DELAYED, P.STARTING, P.BACKOFF, P.RESTING, P.HOLDING, P.DONE),
        elapsed=Cell(kill),
        stop=Cell(cancel_start),
        hold=Cell(cancel_start),
        release=IGNORE,
        start=Cell(request_start),
        restart=Cell(request_start),
        recycle=IGNORE,
        reload=IGNORE,  # the next run reads its configuration as it starts
        retire=Cell(disable_restart),
        ask=Cell(disable_restart),
        hurry=Cell(hurry_kill),
        abandon=IGNORE,
    ),
    backoff=Row(
        triggered=IGNORE,  # the run to come is for this event too
        spawned=IGNORE,
        exited=IGNORE,
        emptied=IGNORE,
        elapsed=Cell(launch, P.STARTING, P.RUNNING),
        stop=Cell(stop_idle, P.HOLDING, P.DONE),
        hold=Cell(stop_idle, P.HOLDING, P.DONE),
        release=IGNORE,
        start=Cell(start_by_request, P.STARTING, P.RUNNING),
        restart=Cell(start_by_request, P.STARTING, P.RUNNING),
        recycle=IGNORE,
        reload=IGNORE,
        retire=Cell(finish_idle, P.HOLDING, P.DONE),
        ask=Cell(stop_idle, P.HOLDING, P.DONE),
        hurry=Cell(hurry_idle, P.DONE),
        abandon=IGNORE,
    ),
    resting=Row(
        triggered=Cell(start_or_delay, P.DELAYED, P.STARTING, P.RUNNING),
        spawned=IGNORE,
        exited=IGNORE,
        emptied=IGNORE,
        elapsed=Cell(finish_rest, P.STARTING, P.RUNNING, P.HOLDING, P.DONE),
        stop=Cell(stop_idle, P.HOLDING, P.DONE),
        hold=Cell(stop_idle, P.HOLDING, P.DONE),
        release=IGNORE,
        start=Cell(start_by_request, P.STARTING, P.RUNNING),
        restart=Cell(start_by_request, P.STARTING, P.RUNNING),
        recycle=IGNORE,
        reload=IGNORE,
        retire=Cell(finish_idle, P.HOLDING, P.DONE),
        ask=Cell(stop_idle, P.HOLDING, P.DONE),
        hurry=Cell(hurry_idle, P.DONE),
        abandon=Cell(cancel_wait, P.HOLDING, P.DONE),
    ),
    done=Row(
        triggered=IGNORE,  # a job that is over runs again only by request
        spawned=IGNORE,
        exited=IGNORE,
        emptied=IGNORE,
        elapsed=IGNORE,
        stop=IGNORE,
        hold=IGNORE,
        release=IGNORE,
        start=Cell(start_with_fresh_restarts, P.STARTING, P.RUNNING),
        restart=Cell(start_with_fresh_restarts, P.STARTING, P.RUNNING),
        recycle=IGNORE,
        reload=IGNORE,
        retire=IGNORE,
        ask=IGNORE,
        hurry=IGNORE,
        abandon=IGNORE,
    ),
)
