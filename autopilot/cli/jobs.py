"""Verbs that act on named jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import click

from autopilot.cli.client import CutOff, ask, output_option, socket_option, socket_path, waiting


def ask_job(path: str, verb: str, job: str, *, wait: bool = True, timeout: float | None = None) -> dict[str, Any]:
    """Ask, and (with `wait`) wait until it is so; the job as `autopilot status` shows it then. A stop that ends the
    whole life is done as well. Raises Unreachable, TookTooLong, ClickException."""
    target = f"/v1/jobs/{quote(job, safe='')}/{verb}"
    try:
        answer = ask(path, "POST", target, {"wait": True} if wait else None, limit=timeout if wait else 10.0)
    except CutOff:
        if verb != "stop":
            raise
        return {"name": job, "state": "done", "status": None, "asked": True, "pid": None}
    return next(shown for shown in answer["jobs"] if shown["name"] == job)


def failed(shown: dict[str, Any]) -> bool:
    """It was started, and is not there: its last run failed."""
    return shown["state"] in ("backoff", "done") and bool(shown["status"]) and not shown["asked"]


def ask_jobs(path: str, verb: str, jobs: Iterable[str], *, wait: bool, timeout: float | None, output: str) -> None:
    """Exit code 1 when a job that was started failed at once."""
    found = [ask_job(path, verb, job, wait=wait, timeout=timeout) for job in jobs]
    if output == "json":
        click.echo(json.dumps(found, indent=1))
    else:
        for shown in found:
            click.echo(f"{shown['name']}: {shown['state']}")
    if wait and verb != "stop" and any(map(failed, found)):
        raise SystemExit(1)


def job_verb(verb: str, purpose: str) -> click.Command:
    """The command `autopilot VERB JOB...`."""

    @click.command(verb, help=purpose)
    @click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=job_names)
    @waiting
    @output_option
    @socket_option
    def command(
        jobs: tuple[str, ...], no_wait: bool, timeout: float | None, output: str, given_socket: str | None
    ) -> None:
        ask_jobs(socket_path(given_socket), verb, jobs, wait=not no_wait, timeout=timeout, output=output)

    return command


def job_names(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """For the shell's completion: the jobs of the supervisor that runs here, if one does."""
    try:
        answer = ask(socket_path(None), "GET", "/v1/status", limit=1.0)
    except click.ClickException:
        return []
    return [shown["name"] for shown in answer["jobs"] if shown["name"].startswith(begun)]
