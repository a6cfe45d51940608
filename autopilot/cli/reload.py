"""autopilot reload: the running supervisor takes its job spec anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from autopilot.cli.client import ask, output_option, socket_option, socket_path, waiting

SAID = {
    "started": "started",
    "restarted": "restarted",
    "updated": "goes on by other rules",
    "removed": "stopped and removed",
}


@click.command()
@socket_option
@output_option
@waiting
def command(given_socket: str | None, output: str, no_wait: bool, timeout: float | None) -> None:
    """Take the job spec anew, from the file it was started with.

    Jobs that have not changed keep their process. Returns when those that had to end have ended. A job spec that cannot
    be used changes nothing: every problem is printed, exit code 78.
    """
    path = socket_path(given_socket)
    done = ask(path, "POST", "/v1/reload", {"wait": not no_wait}, limit=timeout)
    if output == "json":
        click.echo(json.dumps(done, indent=2))
        return
    tell(done)


def tell(done: Mapping[str, Any]) -> None:
    """What a reload did, in a line for each job that it touched."""
    for warning in done["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    for key, said in SAID.items():
        for job in done[key]:
            click.echo(f"{job}: {said}")
    if done["sections"]:
        click.echo(f"in effect: {', '.join(done['sections'])}")
    kept = len(done["unchanged"])
    click.echo(f"{kept} job{'' if kept == 1 else 's'} unchanged")
