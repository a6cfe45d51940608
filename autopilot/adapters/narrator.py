"""Facts as sentences: what the log says of each, and how loud."""

from __future__ import annotations

from dataclasses import asdict

from autopilot.machines import facts
from autopilot.machines.changes import Changes
from autopilot.process import status

Sentence = tuple[str, str, dict[str, object]]  # level, sentence, fields


def sentence(fact: facts.Fact) -> Sentence | None:  # noqa: PLR0911, PLR0912 - one arm for each fact
    """None: not worth a line."""
    match fact:
        case facts.JobStarted(job, run, 0):
            return "info", "started: it has no process, its check says how it is", {"job": job, "run": run}
        case facts.JobStarted(job, run, pid):
            return "info", "started", {"job": job, "pid": pid, "run": run}
        case facts.JobExited():
            return _exit(fact)
        case facts.JobStopping(job):
            return "debug", "stopping", {"job": job}
        case facts.JobStopped(job):
            return "debug", "over", {"job": job}
        case facts.JobTimedOut(job, timeout):
            return "warning", f"ran longer than its timeout of {timeout:g} s, killed", {"job": job}
        case facts.JobKilled(job, after):
            return "warning", f"did not stop within {after:.3g} s, killed", {"job": job}
        case facts.WaitTimedOut(job, timeout):
            return "warning", f"what it waits for did not happen within {timeout:g} s: it will not run", {"job": job}
        case facts.WaitAbandoned(job, waiting_for):
            return "info", f"will not run: {waiting_for} cannot happen any more", {"job": job}
        case facts.RunsSkipped(job, count, True):
            return "warning", f"the clock is past their time: {count} runs skipped", {"job": job, "skipped": count}
        case facts.RunsSkipped(job, count):
            return "warning", f"was still running: {count} runs skipped", {"job": job, "skipped": count}
        case facts.RestartScheduled(job, delay, failures):
            return "info", f"starts again in {delay:.2g} s", {"job": job, "failures": failures}
        case facts.CrashLoopSeen(job, failures, last):
            return "error", f"crash loop: {failures} short runs in a row, last {status.words(last)}", {"job": job}
        case facts.CheckFailed(job, output, failures, starting):
            level = "debug" if starting else "warning"
            return level, f"health check failed: {_tail(output)}", {"job": job, "failures": failures}
        case facts.ChecksSkipped(job, count):
            return "warning", f"health check is slower than its interval: {count} checks skipped", {"job": job}
        case facts.Healthy(job):
            return "info", "healthy", {"job": job}
        case facts.Unhealthy(job, output, failures):
            return "error", f"unhealthy: {_tail(output)}", {"job": job, "failures": failures}
        case facts.ProvedGood(seconds):
            return "info", f"healthy for {seconds:g} s: this life is good", {}
        case facts.PayloadsChanged(payloads, started, ended):
            return (
                "info",
                "payloads changed",
                {"running": len(payloads), "started": list(started), "ended": list(ended)},
            )
        case facts.NodeTroubled(kind, detail):
            return "error", detail, {"trouble": kind}
        case facts.NodeMended(kind):
            return "info", "trouble is over", {"trouble": kind}
        case facts.TemplateWritten(path):
            return "info", f"template written: {path}", {}
        case facts.WatchHealthy(watch):
            return "info", "watch changed: healthy", {"watch": watch}
        case facts.WatchUnhealthy(watch):
            return "warning", "watch changed: unhealthy, nothing is there", {"watch": watch}
        case facts.PlanAdopted(changes):
            return "info", "plan changed" if changes else "plan reloaded: nothing has changed", _changed(changes)
        case facts.MaintenanceEntered():
            return "info", "maintenance: services take no traffic, checks rest", {}
        case facts.MaintenanceLeft():
            return "info", "maintenance is over", {}
        case _:
            return _end_of_life(fact)


def _end_of_life(fact: facts.Fact) -> Sentence | None:  # noqa: PLR0911 - one arm for each fact
    match fact:
        case facts.LifetimeBegun(seconds) if seconds is not None:
            return "info", f"lifetime counted: it ends in {seconds:.0f} s", {"seconds": round(seconds, 3)}
        case facts.LifetimeMoved(seconds):
            when = "never, but for idleness" if seconds is None else f"in {seconds:.0f} s"
            return "info", f"lifetime changed: it ends {when}", {}
        case facts.LifetimeQueued():
            return "info", "lifetime is over: it waits for its turn to drain", {}
        case facts.DrainBegun(reason, who, deadline):
            limit = "payloads may take as long as they need" if deadline is None else f"payloads have {deadline:g} s"
            return "info", f"drain begun: {who}; no new payload, {limit}", {"reason": reason}
        case facts.DeadlineMoved(who, deadline):
            return "info", f"drain deadline is now in {deadline:g} s, by {who}", {}
        case facts.DrainSoftened(grace):
            return "warning", f"drain deadline reached: payloads asked to end, they have {grace:g} s", {}
        case facts.DrainHardened():
            return "error", "drain: the grace is over, payloads are killed", {}
        case facts.DrainCompleted(forced):
            return "info", "drained: nothing runs, nothing can start", {"forced": forced}
        case facts.ShutdownBegun(reason, detail):
            return "info", f"shutting down: {detail}", {"reason": reason}
        case facts.ShutdownHurried(who, jobs):
            return "warning", f"shutting down without patience: {who}", {"jobs": list(jobs)}
    return None


def _exit(fact: facts.JobExited) -> Sentence:
    fields: dict[str, object] = {"job": fact.job, "status": fact.status, "run": fact.run}
    if fact.leftovers:
        fields["left_behind"] = fact.leftovers
    if fact.problem is not None:
        return "error", f"cannot start: {fact.problem}", fields
    if fact.oom:
        return "error", "killed by the kernel: the container ran out of memory", fields
    return "info" if fact.asked or fact.status == 0 else "warning", f"ended, {status.words(fact.status)}", fields


def _changed(changes: Changes) -> dict[str, object]:
    return {name: list(jobs) for name, jobs in asdict(changes).items() if jobs}


def _tail(output: str) -> str:
    """The last line that says something: a health check's verdict."""
    lines = output.strip().splitlines()
    return lines[-1][:500] if lines else "no output"
