"""Verbs that act on named jobs."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

import click

from autopilot.cli.client import ask, socket_option, socket_path


def ask_jobs(path: str, verb: str, jobs: Iterable[str]) -> None:
    for job in jobs:
        answer = ask(path, "POST", f"/v1/jobs/{quote(job, safe='')}/{verb}")
        state = next(shown["state"] for shown in answer["jobs"] if shown["name"] == job)
        click.echo(f"{job}: {state}")


def job_verb(verb: str, purpose: str) -> click.Command:
    """The command `autopilot VERB JOB...`."""

    @click.command(verb, help=purpose)
    @click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
    @socket_option
    def command(jobs: tuple[str, ...], given_socket: str | None) -> None:
        ask_jobs(socket_path(given_socket), verb, jobs)

    return command
