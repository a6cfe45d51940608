"""autopilot logs: the last lines of the jobs."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from autopilot.cli.client import follow, output_option, socket_option, socket_path
from autopilot.cli.jobs import job_names
from autopilot.process.lines import visible


@click.command()
@click.argument("job", required=False, shell_complete=job_names)
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on with each line that comes.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=30, show_default=True, help="How many lines.")
@output_option
@socket_option
def command(job: str | None, follows: bool, lines: int, output: str, given_socket: str | None) -> None:
    """Show the last lines that JOB (or every job) wrote: the supervisor keeps 64 KiB of each.

    The whole log is where the supervisor's own output goes (`docker logs`). A follower that reads too slowly is told
    how many lines it has lost.
    """
    target = "/v1/logs" if job is None else f"/v1/logs/{quote(job, safe='')}"
    for record in follow(socket_path(given_socket), f"{target}?n={lines}&follow={int(follows)}"):
        click.echo(json.dumps(record) if output == "json" else _line(record, named=job is None))


def _line(record: dict[str, Any], *, named: bool) -> str:
    if "lost" in record:
        return f"autopilot: {record['lost']} lines lost: this reader is too slow"
    text = visible(record["line"])
    return f"{record['time']} {record['job']} | {text}" if named else text
