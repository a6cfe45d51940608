"""autopilot stop: everything in order, or one job."""

from __future__ import annotations

import click

from autopilot.cli.client import ask, output_option, say, socket_option, socket_path, wait_for_end, waiting
from autopilot.cli.jobs import ask_jobs, job_names


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=job_names)
@waiting
@output_option
@socket_option
def command(jobs: tuple[str, ...], no_wait: bool, timeout: float | None, output: str, given_socket: str | None) -> None:
    """Stop the named jobs; without a name, stop everything in order and end this life.

    Payloads go back to their queue at once: use `drain` to let them finish.
    """
    path = socket_path(given_socket)
    if jobs:
        ask_jobs(path, "stop", jobs, wait=not no_wait, timeout=timeout, output=output)
        return
    answer = ask(path, "POST", "/v1/stop")
    say(output, "stopping", answer)
    if not no_wait:
        wait_for_end(path, timeout)
        say(output, "ended", {"ended": True})
