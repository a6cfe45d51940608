"""Let the running supervisor read its job spec again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from autopilot.cli.control_client import find_socket_path, send_request
from autopilot.cli.verb_options import add_wait_options, output_option, socket_option

CHANGE_PHRASES = {  # by the key of a reload's answer
    "started": "started",
    "restarted": "restarted",
    "not_started": "has not started: see `autopilot why`",
    "updated": "updated without a restart",
    "removed": "stopped and removed",
}


@click.command()
@socket_option
@output_option
@add_wait_options
def command(given_socket: str | None, output: str, no_wait: bool, timeout: float | None) -> None:
    """Read the job spec again, from the file the supervisor was started with.

    Jobs that have not changed keep their process. The verb returns when jobs that were removed or restarted have ended.
    A job spec with problems changes nothing: every problem is printed, and the exit code is 78.
    """
    path = find_socket_path(given_socket)
    changes = send_request(path, "POST", "/v1/reload", {"wait": not no_wait}, timeout=timeout)
    if output == "json":
        click.echo(json.dumps(changes, indent=2))
        return
    print_changes(changes)


def print_changes(changes: Mapping[str, Any]) -> None:
    """Print one line for each job that a reload (`ReloadResult`) has changed, and a summary."""
    for warning in changes["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    for key, phrase in CHANGE_PHRASES.items():
        for job in changes[key]:
            click.echo(f"{job}: {phrase}")
    if changes["sections"]:
        click.echo(f"in effect: {', '.join(changes['sections'])}")
    kept = len(changes["unchanged"])
    click.echo(f"{kept} job{'' if kept == 1 else 's'} unchanged")
