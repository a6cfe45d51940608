"""End the run of a job: its stop signals, the kill, and the exit of its processes."""

from __future__ import annotations

from autopilot.machines import events
from autopilot.machines.actions import Kill, Signal
from autopilot.machines.cues import Exited
from autopilot.machines.job_runs import finish_run
from autopilot.machines.job_state import JobContext, Phase, Step
from autopilot.machines.tables import keep_state

SIGHUP, SIGTERM = 1, 15
REKILL_INTERVAL_S = 2.0  # s; a process in uninterruptible sleep takes its SIGKILL when it wakes
HURRY_GRACE_S = 1.0  # s for the last signal of a hurried job: a batch system's master needs 0.1-0.3 s for its SIGQUIT

# --- requests ---


def stop(t: JobContext) -> Step:
    """Send the stop signal; the job is not wanted any more."""
    announced = t.update_state(want_up=False, stop_requested=True, stop_announced=True, pre_stop_over=True)
    return _send_stop_signal(announced, events.JobStopping(t.job.name))


def hold(t: JobContext) -> Step:
    """Announce the stop, and let the pre-stop jobs run before the stop signal."""
    return t.enter_phase(
        Phase.HOLDING,
        events.JobStopping(t.job.name),
        deadline_in=t.job.stopping_wait,
        want_up=False,
        stop_requested=True,
        stop_announced=True,
        restart_when_empty=False,
    )


def release(t: JobContext) -> Step:
    """Send the stop signal: the pre-stop jobs are over, or have had their time. A run that has ended is done."""
    released = t.update_state(pre_stop_over=True)
    return finish_run(released) if t.state.run_over else _send_stop_signal(released)


def restart(t: JobContext) -> Step:
    """Send the stop signal; the job starts again when its last process is gone."""
    return _send_stop_signal(t.update_state(want_up=True, stop_requested=True, restart_when_empty=True))


def request_start(t: JobContext) -> Step:
    """Start again when the stop that is under way is complete.

    The stop itself is not called back: its pre-stop jobs have begun to take the job out of service.
    """
    return t.keep_phase(want_up=True, restart_when_empty=True)


def cancel_start(t: JobContext) -> Step:
    """Do not start again after the stop that is under way."""
    announcement = () if t.state.stop_announced else (events.JobStopping(t.job.name),)
    return t.keep_phase(
        *announcement, want_up=False, stop_requested=True, stop_announced=True, restart_when_empty=False
    )


def disable_restart(t: JobContext) -> Step:
    """Let the run go on, or its stop, but be done after it."""
    return t.keep_phase(want_up=False, restart_when_empty=False)


def ask_to_end(t: JobContext) -> Step:
    """Send the stop signal without a limit of time: the drain's grace is the job's time, not its own timeout."""
    signals = () if t.state.pid is None else (_build_signal(t, t.job.stop.signal),)
    return t.keep_phase(*signals, want_up=False, stop_requested=True, restart_when_empty=False)


def send_reload(t: JobContext) -> Step:
    """Send SIGHUP to a job that has a process."""
    return keep_state(t) if t.state.pid is None else t.keep_phase(_build_signal(t, SIGHUP))


def remember_trigger(t: JobContext) -> Step:
    """Note an `each` event that came during the run: one more run follows."""
    return t.keep_phase(trigger_pending=t.job.when.each)


def record_pid(t: JobContext) -> Step:
    """Note the process of a run whose stop was requested before it was there."""
    return t.keep_phase(pid=t.pid)


def hurry(t: JobContext) -> Step:
    """Kill the job; one with further signals gets the last of them first, and HURRY_GRACE_S for it."""
    escalate = t.job.stop.escalate
    # no time is left for pre-stop jobs, so JobStopping is not emitted any more
    unwanted = t.update_state(
        want_up=False, stop_requested=True, stop_announced=True, pre_stop_over=True, restart_when_empty=False
    )
    if not t.job.command.argv or t.state.run_over:
        return finish_run(unwanted)
    if t.state.pid is None or t.state.escalations_sent == len(escalate):
        return kill(unwanted)
    last = _build_signal(t, escalate[-1][1])
    return unwanted.enter_phase(
        Phase.STOPPING, last, deadline_in=HURRY_GRACE_S, escalations_sent=len(escalate), stop_requested_at=t.now
    )


def hurry_kill(t: JobContext) -> Step:
    """Do not start again: SIGKILL was sent already."""
    return t.keep_phase(
        want_up=False, stop_requested=True, stop_announced=True, pre_stop_over=True, restart_when_empty=False
    )


# --- signals ---


def _send_stop_signal(t: JobContext, *emitted: events.Event) -> Step:
    begun = t.update_state(stop_requested_at=t.now, escalations_sent=0)
    if not t.job.command.argv:
        return finish_run(begun, *emitted)
    return begun.enter_phase(
        Phase.STOPPING, *emitted, _build_signal(t, t.job.stop.signal), deadline_in=_compute_stop_wait(begun, 0)
    )


def _build_signal(t: JobContext, number: int) -> Signal:
    return Signal(t.job.name, t.state.run, number, t.job.stop.group)


def _compute_stop_wait(t: JobContext, escalations_sent: int) -> float:
    """Return the seconds from now to the stop's next step: its next signal, or SIGKILL."""
    plan = t.job.stop
    next_step = plan.escalate[escalations_sent][0] if escalations_sent < len(plan.escalate) else plan.timeout
    return max(0.0, t.state.stop_requested_at + min(next_step, plan.timeout) - t.now)


def continue_stop(t: JobContext) -> Step:
    """Send the stop's next signal, or SIGKILL when its time is over."""
    plan, sent = t.job.stop, t.state.escalations_sent
    if sent < len(plan.escalate) and t.now < t.state.stop_requested_at + plan.timeout:
        signal = _build_signal(t, plan.escalate[sent][1])
        return t.enter_phase(
            Phase.STOPPING, signal, deadline_in=_compute_stop_wait(t, sent + 1), escalations_sent=sent + 1
        )
    return kill(t, events.JobKilled(t.job.name, t.now - t.state.stop_requested_at))


def handle_run_timeout(t: JobContext) -> Step:
    """Kill a run that is longer than the job's `timeout`."""
    return kill(t, events.JobTimedOut(t.job.name, t.job.timeout or 0.0))


def kill(t: JobContext, *emitted: events.Event) -> Step:
    """Send SIGKILL to every process of the job, again after REKILL_INTERVAL_S."""
    return t.enter_phase(Phase.KILLING, *emitted, Kill(t.job.name, t.state.run), deadline_in=REKILL_INTERVAL_S)


# --- exits ---


def handle_exit(t: JobContext) -> Step:
    """End the run whose leader exited; members that it left behind get SIGTERM first.

    They would run beside the next leader. In STOPPING they have their signal already, and the deadline goes on.
    """
    exited = _get_exited(t)
    reports = _build_exit_events(t, exited)
    noted = t.update_state(status=exited.status, oom=exited.oom, pid=None)
    if not exited.leftovers:
        return finish_run(noted, *reports)
    if t.state.phase in (Phase.STOPPING, Phase.KILLING):
        return noted.keep_phase(*reports)
    sweep = Signal(t.job.name, t.state.run, SIGTERM, True)
    all_sent = len(t.job.stop.escalate)  # the further signals are for the leader alone
    begun = noted.update_state(stop_requested_at=t.now, escalations_sent=all_sent)
    return begun.enter_phase(Phase.STOPPING, *reports, sweep, deadline_in=t.job.stop.timeout)


def _get_exited(t: JobContext) -> Exited:
    assert t.exited is not None, "EXITED comes with its cue"
    return t.exited


def _build_exit_events(t: JobContext, exited: Exited) -> tuple[events.Event, ...]:
    name = t.job.name
    ended = events.JobExited(
        name, t.state.run, exited.status, t.state.stop_requested, exited.problem, exited.leftovers, exited.oom
    )
    result = events.JobSucceeded(name) if exited.status == 0 else events.JobFailed(name, exited.status)
    return ended, result


def handle_emptied(t: JobContext) -> Step:
    """End the run whose last member is gone; while its leader is alive nothing has ended."""
    return keep_state(t) if t.state.pid is not None else finish_run(t)
