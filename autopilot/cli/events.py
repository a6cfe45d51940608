"""Show the last events of the supervisor, and follow new ones."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from autopilot.amounts import format_count
from autopilot.cli.control_client import find_socket_path, follow
from autopilot.cli.verb_options import output_option, socket_option
from autopilot.process.line_buffer import escape_controls


@click.command()
@click.option("-f", "--follow", "follows", is_flag=True, help="Print new events as they come.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=30, show_default=True, help="Number of events from the past."
)
@output_option
@socket_option
def command(follows: bool, lines: int, output: str, given_socket: str | None) -> None:
    """Show the last events. The supervisor keeps 500, without health checks that passed.

    With -o json each line is one object: `event` is the kind of the event, `trigger` the name by which a job's `when`
    refers to it, or null (docs/api.md).
    """
    for record in follow(find_socket_path(given_socket), f"/v1/events?n={lines}&follow={int(follows)}"):
        click.echo(json.dumps(record) if output == "json" else _format_event(record))


def _format_event(record: dict[str, Any]) -> str:
    if "lost" in record:
        return f"autopilot: {format_count(record['lost'], 'event')} lost: this reader is too slow"
    subject = record.get("job") or record.get("watch")
    sentence = record["says"] or re.sub(r"(?<!^)(?=[A-Z])", " ", record["event"]).lower()
    prefix = f"{subject}: " if subject else ""
    return escape_controls(f"{record['time']} {record['level'].upper():<8} {prefix}{sentence}")
