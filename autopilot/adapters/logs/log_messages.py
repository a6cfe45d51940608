"""Describe each event of the core as a line of the log: its id, level, sentence and fields.

`SENTENCES` is the whole table: a row for every kind of event, or a reason in `UNLOGGED`. The job is the subject of a
sentence about a job; formats write it before the sentence. Lines that report no event have their ids in `OWN_LINES`.
docs/events.md is generated from these tables (`event_catalog`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from autopilot.amounts import format_count, format_seconds
from autopilot.machines import events
from autopilot.process import exit_status
from autopilot.timestamps import format_local_timestamp

MAX_OUTPUT_CHARS = 500


class LogMessage(NamedTuple):
    """Content of one line of the log, without its time and event id."""

    level: str
    sentence: str
    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A line of the log for one kind of event.

    `template` and `fields` name attributes of the event or entries of `DERIVED_VALUES`. The first sentence of a row
    with a true `condition` is used. `omit_empty` leaves out fields that are empty.
    """

    level: str
    template: str
    fields: tuple[str, ...] = ()
    condition: Callable[[Any], bool] = lambda event: True
    omit_empty: bool = False


DERIVED_VALUES: Mapping[str, Callable[[Any], object]] = {
    "status_text": lambda event: exit_status.describe_status(event.status),
    "output_line": lambda event: _get_last_line(event.output),
    "remedy_text": lambda event: f"; {event.remedy}" if event.remedy else "",
    "left_behind": lambda event: event.leftovers,
    "skipped": lambda event: event.count,
    "checks_text": lambda event: format_count(event.count, "check"),
    "runs_text": lambda event: format_count(event.count, "run"),
    "timeout_text": lambda event: format_seconds(event.timeout),
    "seconds_text": lambda event: format_seconds(event.seconds),
    "until_text": lambda event: format_local_timestamp(event.epoch),
    "deadline_text": lambda event: format_seconds(event.deadline),
    "grace_text": lambda event: format_seconds(event.grace),
    "trouble": lambda event: event.kind,
    "running": lambda event: len(event.payloads),
    "started_count": lambda event: len(event.started),
    "ended_count": lambda event: len(event.ended),
    "finished_count": lambda event: len(event.payloads),
    "failed_count": lambda event: len(event.failed_fast),
    "jobs_added": lambda event: event.changes.added,
    "jobs_restarted": lambda event: event.changes.restarted,
    "jobs_updated": lambda event: event.changes.updated,
    "jobs_removed": lambda event: event.changes.removed,
    "sections": lambda event: event.changes.sections,
}

JOB_RUN = ("job", "status", "run", "left_behind")
PLAN_CHANGES = ("jobs_added", "jobs_restarted", "jobs_updated", "jobs_removed", "sections")

SENTENCES: Mapping[type[events.Event], tuple[Sentence, ...]] = {
    events.JobStarted: (
        Sentence(
            "info",
            "started without a process: its health check decides its state",
            ("job", "run"),
            condition=lambda event: event.pid == 0,
        ),
        Sentence("info", "started", ("job", "pid", "run")),
    ),
    events.JobExited: (
        Sentence(
            "error",
            "cannot start: {problem}",
            JOB_RUN,
            condition=lambda event: event.problem is not None,
            omit_empty=True,
        ),
        Sentence(
            "error",
            "killed by the kernel: the container ran out of memory",
            JOB_RUN,
            condition=lambda event: event.oom,
            omit_empty=True,
        ),
        Sentence(
            "info",
            "ended, {status_text}",
            JOB_RUN,
            condition=lambda event: event.asked or event.status == 0,
            omit_empty=True,
        ),
        Sentence("warning", "ended, {status_text}", JOB_RUN, omit_empty=True),
    ),
    events.JobStopping: (Sentence("debug", "stopping", ("job",)),),
    events.JobStopped: (Sentence("debug", "finished: it runs again only when an operator starts it", ("job",)),),
    events.JobTimedOut: (
        Sentence("warning", "ran longer than its timeout of {timeout_text}, sending SIGKILL", ("job",)),
    ),
    events.JobKilled: (Sentence("warning", "did not stop within {after:.3g} s, sending SIGKILL", ("job",)),),
    events.WaitTimedOut: (
        Sentence("warning", "awaited event did not happen within {timeout_text}: the job will not run", ("job",)),
    ),
    events.WaitAbandoned: (Sentence("info", "will not run: {waiting_for} can no longer happen", ("job",)),),
    events.RunsSkipped: (
        Sentence(
            "warning",
            "{runs_text} skipped: the clock was set forward past their times",
            ("job", "skipped"),
            condition=lambda event: event.late,
        ),
        Sentence("warning", "{runs_text} skipped: the previous run had not ended", ("job", "skipped")),
    ),
    events.RestartScheduled: (Sentence("info", "restarts in {delay:.2g} s", ("job", "failures")),),
    events.CrashLoopDetected: (
        Sentence(
            "error",
            "crash loop: {failures} runs in a row were short or never healthy, the last {cause}",
            ("job",),
            condition=lambda event: event.cause != "",
        ),
        Sentence("error", "crash loop: {failures} short runs in a row, the last: {status_text}", ("job",)),
    ),
    events.CheckFailed: (
        Sentence(
            "debug",
            "health check failed while starting: {output_line}",
            ("job", "failures"),
            condition=lambda event: event.starting,
        ),
        Sentence("warning", "health check failed: {output_line}", ("job", "failures")),
    ),
    events.ChecksSkipped: (
        Sentence("warning", "health check is slower than its interval: {checks_text} skipped", ("job",)),
    ),
    events.Healthy: (Sentence("info", "marked healthy", ("job",)),),
    events.Unhealthy: (Sentence("error", "marked unhealthy: {output_line}", ("job", "failures")),),
    events.GateRefused: (
        Sentence(
            "warning",
            "check {gate} has not passed yet, its jobs wait: {output_line}{remedy_text}",
            ("gate",),
        ),
    ),
    events.GateOpened: (
        Sentence(
            "info",
            "check {gate} passed after {seconds_text}: {output_line}",
            ("gate",),
        ),
    ),
    events.GateFailed: (
        Sentence(
            "error",
            "check {gate} has not passed within {seconds_text}, the life ends: {output_line}{remedy_text}",
            ("gate", "on_failure"),
            condition=lambda event: event.on_failure in ("neutral", "failed"),
        ),
        Sentence(
            "error",
            "check {gate} has not passed within {seconds_text}, its jobs start without it: {output_line}{remedy_text}",
            ("gate", "on_failure"),
            condition=lambda event: event.on_failure == "start",
        ),
        Sentence(
            "error",
            "check {gate} has not passed within {seconds_text}, its jobs wait on: {output_line}{remedy_text}",
            ("gate", "on_failure"),
        ),
    ),
    events.BootSucceeded: (
        Sentence("info", "boot succeeded: healthy for {seconds_text}, the watchdog may promote this image digest"),
    ),
    events.PayloadsChanged: (
        Sentence(
            "info",
            "payloads changed: {started_count} started, {ended_count} ended",
            ("running", "started", "ended"),
        ),
    ),
    events.PayloadsLost: (
        Sentence(
            "error",
            "payloads lost: {cause}",
            ("payloads",),
        ),
    ),
    events.PayloadsTaken: (
        Sentence(
            "info",
            "payloads taken: {taken} of {limit}, the node takes no other",
            ("taken", "limit"),
            condition=lambda event: event.taken >= event.limit,
        ),
        Sentence("info", "payloads taken: {taken} of {limit}", ("taken", "limit")),
    ),
    events.PayloadsFinished: (
        Sentence(
            "info",
            "payloads finished: {finished_count}, {failed_count} of them with an error within a minute",
            ("payloads", "failed_fast"),
        ),
    ),
    events.ConditionRaised: (Sentence("error", "{detail}", ("trouble",)),),
    events.ConditionCleared: (Sentence("info", "condition cleared: {kind}", ("trouble",)),),
    events.WatchHealthy: (Sentence("info", "watch changed: {watch} is healthy", ("watch",)),),
    events.WatchUnhealthy: (
        Sentence("warning", "watch changed: {watch} is unhealthy, no healthy instance or value exists", ("watch",)),
    ),
    events.TemplateWritten: (Sentence("info", "template written: {path}"),),
    events.MaintenanceEntered: (
        Sentence("info", "maintenance entered: services take no traffic, health checks pause"),
    ),
    events.MaintenanceExited: (
        Sentence("info", "maintenance exited: services take traffic again, health checks resume"),
    ),
    events.LifetimeBegun: (
        Sentence(
            "info",
            "lifetime begun: it ends in {seconds_text}",
            ("seconds",),
            condition=lambda event: event.seconds is not None,
        ),
    ),
    events.LifetimeChanged: (
        Sentence("info", "lifetime changed: only idleness ends it", condition=lambda event: event.seconds is None),
        Sentence("info", "lifetime changed: it ends in {seconds_text}"),
    ),
    events.OuterEndChanged: (
        Sentence(
            "info",
            "the batch job around this life has no time limit (from {origin})",
            ("origin",),
            condition=lambda event: event.epoch is None,
        ),
        Sentence(
            "info",
            "bounded by the batch job around it until {until_text}, in {seconds_text} (from {origin})",
            ("origin", "seconds"),
        ),
    ),
    events.LifetimeQueued: (
        Sentence("info", "lifetime expired: waiting for a permit to drain, other containers are draining"),
    ),
    events.DrainBegun: (
        Sentence(
            "info",
            "drain begun: {who}; no new payload starts, payloads may take as long as they need",
            ("reason",),
            condition=lambda event: event.deadline is None,
        ),
        Sentence("info", "drain begun: {who}; no new payload starts, payloads have {deadline_text}", ("reason",)),
    ),
    events.DrainDeadlineChanged: (Sentence("info", "drain deadline changed: it is in {deadline_text}, by {who}"),),
    events.DrainDeadlineReached: (
        Sentence("warning", "drain deadline reached: payloads are asked to end and have {grace_text}"),
    ),
    events.DrainGraceExpired: (Sentence("error", "drain grace expired: payloads are killed"),),
    events.DrainCompleted: (Sentence("info", "drain completed: no payload runs, and none can start", ("forced",)),),
    events.PlanAdopted: (
        Sentence("info", "plan changed", PLAN_CHANGES, condition=lambda event: bool(event.changes), omit_empty=True),
        Sentence("info", "plan reloaded: nothing has changed"),
    ),
    events.ShutdownBegun: (Sentence("info", "shutdown begun: {detail}", ("reason",)),),
    events.ShutdownForced: (
        Sentence("warning", "shutdown forced: {who}; the remaining jobs are killed", ("jobs",)),
    ),
}  # fmt: skip

UNLOGGED: Mapping[type[events.Event], str] = {
    events.SupervisorStarted: "every log begins with it",
    events.SignalReceived: "its effect on jobs is logged",
    events.JobSucceeded: "`job_exited` is logged",
    events.JobFailed: "`job_exited` is logged",
    events.CheckPassed: "nothing has changed",
    events.WatchChanged: "`watch_healthy` or `watch_unhealthy` follows",
    events.TemplateRendered: "`template_written` is logged when the file differs",
    events.PayloadsEvicted: "`payloads_changed` and `shutdown_begun` are logged",
    events.PlanApplied: "the jobs' own events are logged",
}

OWN_LINES: Mapping[str, str] = {
    "batch_stop_failed": "A defect of the supervisor: the batch system could not be told to give its payloads back.",
    "check_error": "A defect of the supervisor in a health check: the check counts as failed, and the life goes on.",
    "config_loaded": "As `containerpilot` only: the job spec is in use, after a start or a reload.",
    "config_reloaded": "As `containerpilot` only: a reload by the control socket has succeeded.",
    "control_request": "A client asks on the control socket for a change: its uid and pid (values of metrics: debug).",
    "control_serving": "As `containerpilot` only: the path of the control socket, after a start or a reload.",
    "control_socket_lost": "The file of the control socket was removed and cannot be made again; it is tried again.",
    "control_socket_remade": "The control socket had been removed, for example by a cleaner, and was made again.",
    "environment_changed": "An operator changed the environment of processes that start from now on.",
    "exit": "The supervisor ends: its exit code and the reason.",
    "file_lost": "A file of the supervisor was removed and cannot be made again; it is tried again.",
    "file_remade": "A file of the supervisor had been removed, for example by a cleaner, and was made again.",
    "file_moved_aside": "Something else was in the place of a file of the supervisor, and was moved aside.",
    "internal_error": "A defect of the supervisor ends this life: the batch system is stopped first, then exit 70.",
    "last_words_failed": "The last words cannot be written; the life continues.",
    "listener_failed": "A listener of events (journal, metrics, Consul, ...) failed on an event; the life continues.",
    "log_lines_dropped": "Lines for another host were dropped: how many, and why.",
    "log_reopen_failed": "The log file cannot be opened again after SIGUSR1; the old one is written on.",
    "loop_error": "The event loop reported a defect without an exception; the life continues.",
    "observer_failed": "A part that only observes (node, watch, metrics) failed; it starts again, the life continues.",
    "processes_killed": "Processes that outlived their jobs were killed at the end of the life.",
    "reload_not_sent": "A template has changed, but the process of its job has no handler for SIGHUP and gets none.",
    "sigkill_sent": "The remaining processes of a job get SIGKILL.",
    "startup_problem": "The life cannot begin: one line for each problem. As a warning: it begins all the same.",
    "tasks_abandoned": "Background tasks did not end when they were cancelled at the end of the life.",
    "timezone_warning": "Jobs with `cron` follow UTC, because the time zone is unknown.",
    "too_many_open_files": "The supervisor has no free file descriptor; it accepts clients again when one is free.",
}


def get_event_id(event_class: type[events.Event]) -> str:
    """Return the stable id of a kind of event: `job_started` for JobStarted."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event_class.__name__).lower()


def describe_event(event: events.Event) -> LogMessage | None:
    """Return the line of the log for `event`; None when it is worth no line."""
    for sentence in SENTENCES.get(type(event), ()):
        if sentence.condition(event):
            values = _EventValues(event)
            fields = {name.removeprefix("jobs_"): _convert_to_plain(values[name]) for name in sentence.fields}
            if sentence.omit_empty:
                fields = {name: value for name, value in fields.items() if value or name in ("status", "run")}
            return LogMessage(sentence.level, sentence.template.format_map(values), fields)
    return None


class _EventValues(dict[str, object]):
    """Attributes of an event and the values derived from them, computed when asked for."""

    def __init__(self, event: events.Event) -> None:
        super().__init__(asdict(event))
        self._event = event

    def __missing__(self, name: str) -> object:
        return DERIVED_VALUES[name](self._event)


def _convert_to_plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return round(value, 3) if isinstance(value, float) else value


def _get_last_line(output: str) -> str:
    """Return the last line of a check's output: its verdict."""
    lines = output.strip().splitlines()
    return lines[-1][:MAX_OUTPUT_CHARS] if lines else "no output"
