"""autopilot why: one line that says why a job is as it is."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from autopilot.cli.client import ask, output_option, socket_option, socket_path
from autopilot.cli.jobs import job_names
from autopilot.cli.table import span
from autopilot.process.lines import visible
from autopilot.process.status import words

Shown = dict[str, Any]


@click.command()
@click.argument("job", shell_complete=job_names)
@output_option
@socket_option
def command(job: str, output: str, given_socket: str | None) -> None:
    """Say why JOB is as it is: what it waits for and why that is not there yet, until when, its last check."""
    answer = ask(socket_path(given_socket), "GET", "/v1/status")
    jobs = {shown["name"]: shown for shown in answer["jobs"]}
    if job not in jobs:
        raise click.ClickException(f"there is no job {job!r}; there are: {', '.join(jobs)}")
    line = because(answer, job, time.time())
    click.echo(json.dumps({"job": job, "state": jobs[job]["state"], "why": line}) if output == "json" else line)


def because(status: Shown, job: str, now: float) -> str:
    """The causes, the nearest first, as one line. `status` is what /v1/status answers, `now` in seconds since the
    epoch."""
    jobs = {shown["name"]: shown for shown in status["jobs"]}
    causes, told, ahead = [], set(), [job]
    while ahead:
        name = ahead.pop(0)
        if name in jobs and name not in told:
            told.add(name)
            causes.append(f"{name} {_one(jobs[name], now)}")
            ahead += jobs[name]["why"].get("sources", [])
    if status["shutdown"] != "up":
        causes.append(f"everything is being stopped ({status['lifetime']['reason'] or status['shutdown']})")
    elif status["maintenance"]:
        causes.append("maintenance is on: nothing is checked")
    return visible("; ".join(causes))


def _one(shown: Shown, now: float) -> str:
    why, state = shown["why"], shown["state"]
    left = f"{span(why['until'] - now)} more" if "until" in why else ""
    if state == "running":
        return _running(shown, now)
    if state == "backoff":
        last = "" if shown["status"] is None else f" after its last run {_ended(shown)}"
        return f"is in back-off{last}: it starts again in {left.removesuffix(' more')} (restart {shown['restarts']})"
    if state == "done":
        return _over(shown, now)
    sentence = {
        "waiting": f"waits for {why.get('waits_for')}",
        "resting": f"has run {_times(shown)} and waits for {why.get('waits_for')}",
        "delayed": "has seen what it waited for, and waits out its delay",
        "starting": "is being started: it waits for its process, or for its turn where it needs a lock",
        "holding": "stops when its pre-stop jobs are done",
        "stopping": "was asked to end, and still has processes",
        "killing": "was killed, and still has processes",
    }[state]
    return f"{sentence}, {left}" if left else sentence


def _running(shown: Shown, now: float) -> str:
    process = f"pid {shown['pid']}" if shown["pid"] else "without a process of its own"
    line = f"runs ({process}, for {span(now - shown['since'])})"
    check = shown["why"].get("last_check")
    said = f": its last check said {check.strip().splitlines()[-1]!r}" if check and check.strip() else ""
    if shown["health"] == "unhealthy":
        return f"{line}, but is unhealthy{said}"
    if shown["health"] == "starting":
        return f"{line}, and is not healthy yet{said}"
    return f"{line}, healthy" if shown["health"] == "healthy" else line


def _over(shown: Shown, now: float) -> str:
    ago = f"{span(now - shown['since'])} ago"
    if shown["asked"]:
        return f"was stopped {ago}; it runs again when somebody starts it"
    if not shown["runs"]:
        return f"will not run: what it waited for did not happen in time, or cannot happen any more ({ago})"
    return f"is over: its last run {_ended(shown)} {ago}, and it has no restart left"


def _ended(shown: Shown) -> str:
    return f"ended, {words(shown['status'])}"


def _times(shown: Shown) -> str:
    return "once" if shown["runs"] == 1 else f"{shown['runs']} times"
