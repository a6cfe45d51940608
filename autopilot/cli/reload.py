"""autopilot reload: the running supervisor takes its job spec anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from autopilot.cli.control_client import add_wait_options, find_socket_path, output_option, send_request, socket_option

CHANGE_PHRASES = {
    "started": "started",
    "restarted": "restarted",
    "updated": "goes on by other rules",
    "removed": "stopped and removed",
}


@click.command()
@socket_option
@output_option
@add_wait_options
def command(given_socket: str | None, output: str, no_wait: bool, timeout: float | None) -> None:
    """Take the job spec anew, from the file it was started with.

    Jobs that have not changed keep their process. Returns when those that had to end have ended. A job spec that cannot
    be used changes nothing: every problem is printed, exit code 78.
    """
    path = find_socket_path(given_socket)
    done = send_request(path, "POST", "/v1/reload", {"wait": not no_wait}, timeout=timeout)
    if output == "json":
        click.echo(json.dumps(done, indent=2))
        return
    print_changes(done)


def print_changes(changes: Mapping[str, Any]) -> None:
    """What a reload did, in a line for each job that it touched."""
    for warning in changes["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    for key, said in CHANGE_PHRASES.items():
        for job in changes[key]:
            click.echo(f"{job}: {said}")
    if changes["sections"]:
        click.echo(f"in effect: {', '.join(changes['sections'])}")
    kept = len(changes["unchanged"])
    click.echo(f"{kept} job{'' if kept == 1 else 's'} unchanged")
