"""Stop everything in order, or single jobs."""

from __future__ import annotations

import click

from autopilot.cli.control_client import find_socket_path, send_request, wait_for_end
from autopilot.cli.job_verbs import complete_job_names, run_job_verb
from autopilot.cli.verb_options import add_wait_options, output_option, print_result, socket_option


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=complete_job_names)
@add_wait_options
@output_option
@socket_option
def command(jobs: tuple[str, ...], no_wait: bool, timeout: float | None, output: str, given_socket: str | None) -> None:
    """Stop the named jobs; without a name, stop everything in order and end this life.

    Payloads return to their queue at once; `drain` lets them finish. The verb returns when the jobs have stopped.
    """
    path = find_socket_path(given_socket)
    if jobs:
        run_job_verb(path, "stop", jobs, wait=not no_wait, timeout=timeout, output=output)
        return
    answer = send_request(path, "POST", "/v1/stop")
    print_result(output, "stopping", answer)
    if not no_wait:
        wait_for_end(path, timeout)
        print_result(output, "ended", {"ended": True})
