"""autopilot signal JOB SIGNAL."""

from __future__ import annotations

from urllib.parse import quote

import click

from autopilot.cli.control_client import find_socket_path, output_option, print_result, send_request, socket_option
from autopilot.cli.job_verbs import complete_job_names


@click.command()
@click.argument("job", shell_complete=complete_job_names)
@click.argument("signal")
@click.option("--group", is_flag=True, help="To every process of the job, not to its first alone.")
@output_option
@socket_option
def command(job: str, signal: str, group: bool, output: str, given_socket: str | None) -> None:
    """Send SIGNAL (such as SIGHUP, HUP or 1) to the process of JOB.

    What the job does then is its own affair: one that ends is restarted as its spec says. To end it use `stop`.
    """
    body = {"signal": signal, "group": group}
    answer = send_request(find_socket_path(given_socket), "POST", f"/v1/jobs/{quote(job, safe='')}/signal", body)
    print_result(output, f"{job}: sent {signal}", next(shown for shown in answer["jobs"] if shown["name"] == job))
