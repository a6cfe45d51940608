"""autopilot restart JOB..."""

from __future__ import annotations

import click

from autopilot.cli.client import socket_option, socket_path
from autopilot.cli.jobs import ask_jobs


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@socket_option
def command(jobs: tuple[str, ...], given_socket: str | None) -> None:
    """Restart the named jobs."""
    ask_jobs(socket_path(given_socket), "restart", jobs)
