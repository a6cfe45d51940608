"""Verbs that act on named jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import click

from autopilot.cli.control_client import (
    ConnectionLostError,
    add_wait_options,
    find_socket_path,
    output_option,
    send_request,
    socket_option,
)


def request_job_verb(
    path: str, verb: str, job: str, *, wait: bool = True, timeout: float | None = None
) -> dict[str, Any]:
    """Ask, and (with `wait`) wait until it is so; the job as `autopilot status` shows it then. A stop that ends the
    whole life is done as well. Raises Unreachable, TookTooLong, ClickException."""
    target = f"/v1/jobs/{quote(job, safe='')}/{verb}"
    try:
        answer = send_request(path, "POST", target, {"wait": True} if wait else None, timeout=timeout if wait else 10.0)
    except ConnectionLostError:
        if verb != "stop":
            raise
        return {"name": job, "state": "done", "status": None, "asked": True, "pid": None}
    return next(shown for shown in answer["jobs"] if shown["name"] == job)


def has_failed(job_status: dict[str, Any]) -> bool:
    """It was started, and is not there: its last run failed."""
    return job_status["state"] in ("backoff", "done") and bool(job_status["status"]) and not job_status["asked"]


def run_job_verb(path: str, verb: str, jobs: Iterable[str], *, wait: bool, timeout: float | None, output: str) -> None:
    """Exit code 1 when a job that was started failed at once."""
    found = [request_job_verb(path, verb, job, wait=wait, timeout=timeout) for job in jobs]
    if output == "json":
        click.echo(json.dumps(found, indent=1))
    else:
        for shown in found:
            click.echo(f"{shown['name']}: {shown['state']}")
    if wait and verb != "stop" and any(map(has_failed, found)):
        raise SystemExit(1)


def build_job_command(verb: str, purpose: str) -> click.Command:
    """The command `autopilot VERB JOB...`."""

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
    """For the shell's completion: the jobs of the supervisor that runs here, if one does."""
    try:
        answer = send_request(find_socket_path(None), "GET", "/v1/status", timeout=1.0)
    except click.ClickException:
        return []
    return [shown["name"] for shown in answer["jobs"] if shown["name"].startswith(incomplete)]
