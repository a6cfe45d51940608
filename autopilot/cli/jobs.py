"""Verbs that act on named jobs."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

import click

from autopilot.cli.client import ask


def ask_jobs(path: str, verb: str, jobs: Iterable[str]) -> None:
    for job in jobs:
        answer = ask(path, "POST", f"/v1/jobs/{quote(job, safe='')}/{verb}")
        state = next(shown["state"] for shown in answer["jobs"] if shown["name"] == job)
        click.echo(f"{job}: {state}")
