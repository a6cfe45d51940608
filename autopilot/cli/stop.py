"""autopilot stop: everything in order, or one job."""

from __future__ import annotations

import click

from autopilot.cli.client import ask, socket_option, socket_path, wait_for_end, waiting
from autopilot.cli.jobs import ask_jobs


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@waiting
@socket_option
def command(jobs: tuple[str, ...], no_wait: bool, timeout: float | None, given_socket: str | None) -> None:
    """Stop the named jobs; without a name, stop everything in order and end this life.

    Payloads go back to their queue at once: use `drain` to let them finish.
    """
    path = socket_path(given_socket)
    if jobs:
        ask_jobs(path, "stop", jobs)
        return
    ask(path, "POST", "/v1/stop")
    click.echo("stopping")
    if not no_wait:
        wait_for_end(path, timeout)
        click.echo("ended")
