"""Explain in one line why a job is in its state."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from autopilot.cli.control_client import find_job, find_socket_path, get_status
from autopilot.cli.job_verbs import complete_job_names
from autopilot.cli.status import describe_bound, describe_payloads_taken, format_queue
from autopilot.cli.text_table import format_duration
from autopilot.cli.verb_options import output_option, socket_option
from autopilot.process.exit_status import describe_status
from autopilot.process.line_buffer import escape_controls

if TYPE_CHECKING:
    from autopilot.api.messages import GateStatus, JobStatus, Status


@click.command()
@click.argument("job", shell_complete=complete_job_names)
@output_option
@socket_option
def command(job: str, output: str, given_socket: str | None) -> None:
    """Explain the state of JOB: the events it waits for, their causes, the time left, the last health check."""
    status = get_status(find_socket_path(given_socket))
    state = find_job(status, job)["state"]
    line = explain(status, job, time.time())
    click.echo(json.dumps({"job": job, "state": state, "why": line}) if output == "json" else line)


def explain(status: Status, job: str, now: float) -> str:
    """Return the causes of a job's state as one line, the nearest cause first.

    Args:
        status: Answer of /v1/status.
        job: Name of the job.
        now: Seconds since the epoch.
    """
    jobs = {state["name"]: state for state in status["jobs"]}
    gates = {gate["name"]: gate for gate in status["gates"]}
    causes, explained, remaining = [], set(), [job]
    while remaining:
        name = remaining.pop(0)
        if name in jobs and name not in explained:
            explained.add(name)
            causes.append(f"{name} {_explain_job(jobs[name], now)}")
            causes += [_explain_gate(gates[gate]) for gate in jobs[name]["why"].get("gates", ()) if gate in gates]
            remaining += jobs[name]["why"].get("sources", [])
    access_point = status.get("access_point")
    if access_point is not None and access_point["job"] in explained and access_point["refusing_jobs"]:
        causes.append(f"the life ends when the queue is empty: {format_queue(access_point)}")
    life = status["lifetime"]
    if life["drain_began"] is not None and (bound := describe_bound(status)) is not None:
        causes.append(bound)
    if status["shutdown"] != "up":
        causes.append(f"everything is being stopped ({status['lifetime']['reason'] or status['shutdown']})")
    elif status["maintenance"]:
        causes.append("maintenance is on: nothing is checked")
    elif life["reason"] == "payloads" and (taken := describe_payloads_taken(status)) is not None:
        causes.append(f"{taken}: no other is taken, and the life ends with them")
    return escape_controls("; ".join(causes))


def _explain_gate(gate: GateStatus) -> str:
    attempts = "once" if gate["attempts"] == 1 else f"{gate['attempts']} times"
    subject = f"check {gate['name']}, asked {attempts} in {format_duration(gate['waited'])},"
    if not gate["answer"]:
        return f"{subject} has not answered yet"
    remedy = f"; {gate['remedy']}" if gate["remedy"] else ""
    return f"{subject} said {gate['answer'].strip().splitlines()[-1]!r}{remedy}"


def _explain_job(job_status: JobStatus, now: float) -> str:
    why, state = job_status["why"], job_status["state"]
    time_left = format_duration(why["until"] - now) if "until" in why else ""
    if state == "running":
        return _explain_running(job_status, now)
    if state == "backoff":
        last = "" if job_status["status"] is None else f" after its last run {_describe_last_run(job_status)}"
        return f"is in back-off{last}: it starts again in {time_left} (restart {job_status['restarts']})"
    if state == "done":
        return _explain_done(job_status, now)
    sentence = {
        "waiting": f"waits for {why.get('waits_for')}",
        "resting": f"has run {_format_run_count(job_status)} and waits for {why.get('waits_for')}",
        "delayed": "waits for the end of its delay: the events it needs have happened",
        "starting": "is starting: it waits for its process, or for a lock",
        "holding": "will stop when its pre-stop jobs are done",
        "stopping": "was told to stop, and still has processes",
        "killing": "was killed, and still has processes",
    }[state]
    return f"{sentence}, {time_left} more" if time_left else sentence


def _explain_running(job_status: JobStatus, now: float) -> str:
    process = f"pid {job_status['pid']}" if job_status["pid"] else "without a process of its own"
    line = f"runs ({process}, for {_format_age(job_status, now)})"
    check = job_status["why"].get("last_check")
    output = f": its last check said {check.strip().splitlines()[-1]!r}" if check and check.strip() else ""
    if job_status["health"] == "unhealthy":
        return f"{line}, but is unhealthy{output}"
    if job_status["health"] == "starting":
        return f"{line}, and is not healthy yet{output}"
    return f"{line}, healthy" if job_status["health"] == "healthy" else line


def _explain_done(job_status: JobStatus, now: float) -> str:
    ago = f"{_format_age(job_status, now)} ago"
    if "given_up" in job_status["why"]:
        return (
            f"never ran: {job_status['why']['given_up']}, which did not happen in time or can no longer happen ({ago})"
        )
    if job_status["asked"]:
        return f"was stopped {ago}; it runs again when somebody starts it"
    if job_status["end"] == "never ran":
        return f"never ran, and is over since {ago.removesuffix(' ago')}"
    return f"is over: its last run {_describe_last_run(job_status)} {ago}, and it has no restart left"


def _describe_last_run(job_status: JobStatus) -> str:
    return "ended" if job_status["status"] is None else f"ended, {describe_status(job_status['status'])}"


def _format_age(job_status: JobStatus, now: float) -> str:
    return "some time" if job_status["since"] is None else format_duration(now - job_status["since"])


def _format_run_count(job_status: JobStatus) -> str:
    return "once" if job_status["runs"] == 1 else f"{job_status['runs']} times"
