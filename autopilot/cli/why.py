"""autopilot why: one line that says why a job is as it is."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from autopilot.cli.control_client import find_socket_path, output_option, send_request, socket_option
from autopilot.cli.job_verbs import complete_job_names
from autopilot.cli.text_table import format_duration
from autopilot.process.exit_status import describe_status
from autopilot.process.line_buffer import escape_controls

JsonObject = dict[str, Any]


@click.command()
@click.argument("job", shell_complete=complete_job_names)
@output_option
@socket_option
def command(job: str, output: str, given_socket: str | None) -> None:
    """Say why JOB is as it is: what it waits for and why that is not there yet, until when, its last check."""
    answer = send_request(find_socket_path(given_socket), "GET", "/v1/status")
    jobs = {shown["name"]: shown for shown in answer["jobs"]}
    if job not in jobs:
        raise click.ClickException(f"there is no job {job!r}; there are: {', '.join(jobs)}")
    line = explain(answer, job, time.time())
    click.echo(json.dumps({"job": job, "state": jobs[job]["state"], "why": line}) if output == "json" else line)


def explain(status: JsonObject, job: str, now: float) -> str:
    """The causes, the nearest first, as one line. `status` is what /v1/status answers, `now` in seconds since the
    epoch."""
    jobs = {shown["name"]: shown for shown in status["jobs"]}
    causes, told, ahead = [], set(), [job]
    while ahead:
        name = ahead.pop(0)
        if name in jobs and name not in told:
            told.add(name)
            causes.append(f"{name} {_explain_job(jobs[name], now)}")
            ahead += jobs[name]["why"].get("sources", [])
    if status["shutdown"] != "up":
        causes.append(f"everything is being stopped ({status['lifetime']['reason'] or status['shutdown']})")
    elif status["maintenance"]:
        causes.append("maintenance is on: nothing is checked")
    return escape_controls("; ".join(causes))


def _explain_job(job_status: JsonObject, now: float) -> str:
    why, state = job_status["why"], job_status["state"]
    left = f"{format_duration(why['until'] - now)} more" if "until" in why else ""
    if state == "running":
        return _explain_running(job_status, now)
    if state == "backoff":
        last = "" if job_status["status"] is None else f" after its last run {_describe_last_run(job_status)}"
        return (
            f"is in back-off{last}: it starts again in {left.removesuffix(' more')} (restart {job_status['restarts']})"
        )
    if state == "done":
        return _explain_done(job_status, now)
    sentence = {
        "waiting": f"waits for {why.get('waits_for')}",
        "resting": f"has run {_format_run_count(job_status)} and waits for {why.get('waits_for')}",
        "delayed": "has seen what it waited for, and waits out its delay",
        "starting": "is being started: it waits for its process, or for its turn where it needs a lock",
        "holding": "stops when its pre-stop jobs are done",
        "stopping": "was asked to end, and still has processes",
        "killing": "was killed, and still has processes",
    }[state]
    return f"{sentence}, {left}" if left else sentence


def _explain_running(job_status: JsonObject, now: float) -> str:
    process = f"pid {job_status['pid']}" if job_status["pid"] else "without a process of its own"
    line = f"runs ({process}, for {format_duration(now - job_status['since'])})"
    check = job_status["why"].get("last_check")
    said = f": its last check said {check.strip().splitlines()[-1]!r}" if check and check.strip() else ""
    if job_status["health"] == "unhealthy":
        return f"{line}, but is unhealthy{said}"
    if job_status["health"] == "starting":
        return f"{line}, and is not healthy yet{said}"
    return f"{line}, healthy" if job_status["health"] == "healthy" else line


def _explain_done(job_status: JsonObject, now: float) -> str:
    ago = f"{format_duration(now - job_status['since'])} ago"
    if job_status["asked"]:
        return f"was stopped {ago}; it runs again when somebody starts it"
    if not job_status["runs"]:
        return f"will not run: what it waited for did not happen in time, or cannot happen any more ({ago})"
    return f"is over: its last run {_describe_last_run(job_status)} {ago}, and it has no restart left"


def _describe_last_run(job_status: JsonObject) -> str:
    return f"ended, {describe_status(job_status['status'])}"


def _format_run_count(job_status: JsonObject) -> str:
    return "once" if job_status["runs"] == 1 else f"{job_status['runs']} times"
