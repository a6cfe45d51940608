"""Facts as sentences: what the log says of each, and how loud."""

from __future__ import annotations

from dataclasses import asdict

from autopilot.machines import events
from autopilot.machines.plan_changes import Changes
from autopilot.process import exit_status

LogMessage = tuple[str, str, dict[str, object]]  # level, sentence, fields


def describe_event(event: events.Event) -> LogMessage | None:  # noqa: PLR0911, PLR0912 - one arm for each fact
    """None: not worth a line."""
    match event:
        case events.JobStarted(job, run, 0):
            return "info", "started: it has no process, its check says how it is", {"job": job, "run": run}
        case events.JobStarted(job, run, pid):
            return "info", "started", {"job": job, "pid": pid, "run": run}
        case events.JobExited():
            return _describe_exit(event)
        case events.JobStopping(job):
            return "debug", "stopping", {"job": job}
        case events.JobStopped(job):
            return "debug", "over", {"job": job}
        case events.JobTimedOut(job, timeout):
            return "warning", f"ran longer than its timeout of {timeout:g} s, killed", {"job": job}
        case events.JobKilled(job, after):
            return "warning", f"did not stop within {after:.3g} s, killed", {"job": job}
        case events.WaitTimedOut(job, timeout):
            return "warning", f"what it waits for did not happen within {timeout:g} s: it will not run", {"job": job}
        case events.WaitAbandoned(job, waiting_for):
            return "info", f"will not run: {waiting_for} cannot happen any more", {"job": job}
        case events.RunsSkipped(job, count, True):
            return "warning", f"the clock is past their time: {count} runs skipped", {"job": job, "skipped": count}
        case events.RunsSkipped(job, count):
            return "warning", f"was still running: {count} runs skipped", {"job": job, "skipped": count}
        case events.RestartScheduled(job, delay, failures):
            return "info", f"starts again in {delay:.2g} s", {"job": job, "failures": failures}
        case events.CrashLoopDetected(job, failures, last):
            return (
                "error",
                f"crash loop: {failures} short runs in a row, last {exit_status.describe_status(last)}",
                {"job": job},
            )
        case events.CheckFailed(job, output, failures, starting):
            level = "debug" if starting else "warning"
            return level, f"health check failed: {_get_last_line(output)}", {"job": job, "failures": failures}
        case events.ChecksSkipped(job, count):
            return "warning", f"health check is slower than its interval: {count} checks skipped", {"job": job}
        case events.Healthy(job):
            return "info", "healthy", {"job": job}
        case events.Unhealthy(job, output, failures):
            return "error", f"unhealthy: {_get_last_line(output)}", {"job": job, "failures": failures}
        case events.BootSucceeded(seconds):
            return "info", f"healthy for {seconds:g} s: this life is good", {}
        case events.PayloadsChanged(payloads, started, ended):
            return (
                "info",
                "payloads changed",
                {"running": len(payloads), "started": list(started), "ended": list(ended)},
            )
        case events.ConditionRaised(kind, detail):
            return "error", detail, {"trouble": kind}
        case events.ConditionCleared(kind):
            return "info", "trouble is over", {"trouble": kind}
        case events.TemplateWritten(path):
            return "info", f"template written: {path}", {}
        case events.WatchHealthy(watch):
            return "info", "watch changed: healthy", {"watch": watch}
        case events.WatchUnhealthy(watch):
            return "warning", "watch changed: unhealthy, nothing is there", {"watch": watch}
        case events.PlanAdopted(changes):
            return "info", "plan changed" if changes else "plan reloaded: nothing has changed", _format_changes(changes)
        case events.MaintenanceEntered():
            return "info", "maintenance: services take no traffic, checks rest", {}
        case events.MaintenanceExited():
            return "info", "maintenance is over", {}
        case _:
            return _describe_end_of_life(event)


def _describe_end_of_life(event: events.Event) -> LogMessage | None:  # noqa: PLR0911 - one arm for each fact
    match event:
        case events.LifetimeBegun(seconds) if seconds is not None:
            return "info", f"lifetime counted: it ends in {seconds:.0f} s", {"seconds": round(seconds, 3)}
        case events.LifetimeChanged(seconds):
            when = "never, but for idleness" if seconds is None else f"in {seconds:.0f} s"
            return "info", f"lifetime changed: it ends {when}", {}
        case events.LifetimeQueued():
            return "info", "lifetime is over: it waits for its turn to drain", {}
        case events.DrainBegun(reason, who, deadline):
            limit = "payloads may take as long as they need" if deadline is None else f"payloads have {deadline:g} s"
            return "info", f"drain begun: {who}; no new payload, {limit}", {"reason": reason}
        case events.DrainDeadlineChanged(who, deadline):
            return "info", f"drain deadline is now in {deadline:g} s, by {who}", {}
        case events.DrainDeadlineReached(grace):
            return "warning", f"drain deadline reached: payloads asked to end, they have {grace:g} s", {}
        case events.DrainGraceExpired():
            return "error", "drain: the grace is over, payloads are killed", {}
        case events.DrainCompleted(forced):
            return "info", "drained: nothing runs, nothing can start", {"forced": forced}
        case events.ShutdownBegun(reason, detail):
            return "info", f"shutting down: {detail}", {"reason": reason}
        case events.ShutdownForced(who, jobs):
            return "warning", f"shutting down without patience: {who}", {"jobs": list(jobs)}
    return None


def _describe_exit(event: events.JobExited) -> LogMessage:
    fields: dict[str, object] = {"job": event.job, "status": event.status, "run": event.run}
    if event.leftovers:
        fields["left_behind"] = event.leftovers
    if event.problem is not None:
        return "error", f"cannot start: {event.problem}", fields
    if event.oom:
        return "error", "killed by the kernel: the container ran out of memory", fields
    return (
        "info" if event.asked or event.status == 0 else "warning",
        f"ended, {exit_status.describe_status(event.status)}",
        fields,
    )


def _format_changes(changes: Changes) -> dict[str, object]:
    return {name: list(jobs) for name, jobs in asdict(changes).items() if jobs}


def _get_last_line(output: str) -> str:
    """The last line that says something: a health check's verdict."""
    lines = output.strip().splitlines()
    return lines[-1][:500] if lines else "no output"
