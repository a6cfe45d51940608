"""Show the last log lines of the jobs, and follow new ones."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from autopilot.amounts import format_count
from autopilot.cli.control_client import find_socket_path, follow
from autopilot.cli.job_verbs import complete_job_names
from autopilot.cli.verb_options import output_option, socket_option
from autopilot.process.line_buffer import escape_controls


@click.command()
@click.argument("job", required=False, shell_complete=complete_job_names)
@click.option("-f", "--follow", "follows", is_flag=True, help="Print new lines as they come.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=30, show_default=True, help="Number of lines from the past."
)
@output_option
@socket_option
def command(job: str | None, follows: bool, lines: int, output: str, given_socket: str | None) -> None:
    """Show the last lines that JOB (or every job) wrote. The supervisor keeps 64 KiB of each job.

    The whole log is in the supervisor's own output (`docker logs`). A follower that reads too slowly loses lines, and
    sees how many.
    """
    target = "/v1/logs" if job is None else f"/v1/logs/{quote(job, safe='')}"
    for record in follow(find_socket_path(given_socket), f"{target}?n={lines}&follow={int(follows)}"):
        click.echo(json.dumps(record) if output == "json" else _format_line(record, with_job_name=job is None))


def _format_line(record: dict[str, Any], *, with_job_name: bool) -> str:
    if "lost" in record:
        return f"autopilot: {format_count(record['lost'], 'line')} lost: this reader is too slow"
    text = escape_controls(record["line"])
    return f"{record['time']} {record['job']} | {text}" if with_job_name else text
