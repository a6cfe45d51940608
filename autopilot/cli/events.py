"""autopilot events: what has happened."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from autopilot.cli.control_client import find_socket_path, follow, output_option, socket_option
from autopilot.process.line_buffer import escape_controls


@click.command()
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on with each event that comes.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=30, show_default=True, help="How many events.")
@output_option
@socket_option
def command(follows: bool, lines: int, output: str, given_socket: str | None) -> None:
    """Show the last events (the supervisor keeps 500), all but checks that passed: with -o json one object on a line.

    `event` names the kind; `trigger` is the name that a `when` waits for, where the event has one.
    """
    for record in follow(find_socket_path(given_socket), f"/v1/events?n={lines}&follow={int(follows)}"):
        click.echo(json.dumps(record) if output == "json" else _format_event(record))


def _format_event(record: dict[str, Any]) -> str:
    if "lost" in record:
        return f"autopilot: {record['lost']} events lost: this reader is too slow"
    about = record.get("job") or record.get("watch")
    says = record["says"] or re.sub(r"(?<!^)(?=[A-Z])", " ", record["event"]).lower()
    return escape_controls(f"{record['time']} {record['level'].upper():<8} {f'{about}: ' if about else ''}{says}")
