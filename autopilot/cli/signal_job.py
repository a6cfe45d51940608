"""Send a signal to a job: the verb `signal`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from autopilot.cli.control_client import find_job, find_socket_path, send_request
from autopilot.cli.job_verbs import complete_job_names
from autopilot.cli.verb_options import output_option, print_result, socket_option


@click.command()
@click.argument("job", shell_complete=complete_job_names)
@click.argument("signal")
@click.option("--group", is_flag=True, help="Send it to all processes of the job, not to its first alone.")
@output_option
@socket_option
def command(job: str, signal: str, group: bool, output: str, given_socket: str | None) -> None:
    """Send SIGNAL (such as SIGHUP, HUP or 1) to the process of JOB.

    A job that ends because of it is restarted as its job spec says; `stop` ends a job for good.
    """
    body = {"signal": signal, "group": group}
    answer: Any = send_request(find_socket_path(given_socket), "POST", f"/v1/jobs/{quote(job, safe='')}/signal", body)
    print_result(output, f"{job}: sent {signal}", find_job(answer, job))
