"""Run and build the verbs that act on named jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from autopilot.cli.control_client import (
    REQUEST_TIMEOUT_S,
    ConnectionLostError,
    ControlError,
    find_job,
    find_socket_path,
    get_status,
    send_request,
)
from autopilot.cli.verb_options import add_wait_options, output_option, socket_option

if TYPE_CHECKING:
    from autopilot.api.messages import JobStatus


def request_job_verb(path: str, verb: str, job: str, *, wait: bool = True, timeout: float | None = None) -> JobStatus:
    """Start, stop or restart a job, and return its state after that.

    A stop that ends the whole life has succeeded too, although the connection breaks.

    Args:
        path: Path of the control socket.
        verb: `start`, `stop` or `restart`.
        job: Name of the job.
        wait: Wait until the job has started or stopped, or has failed to.
        timeout: Seconds to wait at most; None waits for as long as it takes.

    Raises:
        ControlError: As for `send_request`.
    """
    target = f"/v1/jobs/{quote(job, safe='')}/{verb}"
    body, timeout = ({"wait": True}, timeout) if wait else (None, REQUEST_TIMEOUT_S)
    try:
        answer: Any = send_request(path, "POST", target, body, timeout=timeout)
    except ConnectionLostError:
        if verb != "stop":
            raise
        return {
            "name": job,
            "state": "done",
            "end": "stopped",
            "health": None,
            "pid": None,
            "status": None,
            "asked": True,
            "runs": 0,
            "restarts": 0,
            "since": None,
            "why": {},
        }
    return find_job(answer, job)


def has_failed(job_status: JobStatus) -> bool:
    """Return True when the job was started and its run has failed already."""
    return job_status["state"] in ("backoff", "done") and bool(job_status["status"]) and not job_status["asked"]


def run_job_verb(path: str, verb: str, jobs: Iterable[str], *, wait: bool, timeout: float | None, output: str) -> None:
    """Start, stop or restart jobs, and print their states; exit with code 1 when a started one has failed at once."""
    states = [request_job_verb(path, verb, job, wait=wait, timeout=timeout) for job in jobs]
    if output == "json":
        click.echo(json.dumps(states, indent=1))
    else:
        for state in states:
            click.echo(f"{state['name']}: {state['state']}")
    if wait and verb != "stop" and any(map(has_failed, states)):
        raise SystemExit(1)


def build_job_command(verb: str, purpose: str) -> click.Command:
    """Build the command `autopilot VERB JOB...`."""

    @click.command(verb, help=purpose)
    @click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_job_names)
    @add_wait_options
    @output_option
    @socket_option
    def command(
        jobs: tuple[str, ...], no_wait: bool, timeout: float | None, output: str, given_socket: str | None
    ) -> None:
        run_job_verb(find_socket_path(given_socket), verb, jobs, wait=not no_wait, timeout=timeout, output=output)

    return command


def complete_job_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of jobs that begin with `incomplete`; none when no supervisor runs here."""
    try:
        status = get_status(find_socket_path(None), timeout=1.0)
    except ControlError:
        return []
    return [job["name"] for job in status["jobs"] if job["name"].startswith(incomplete)]
