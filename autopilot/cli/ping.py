"""Check that the supervisor answers."""

from __future__ import annotations

import click

from autopilot.cli.control_client import find_socket_path, send_request
from autopilot.cli.verb_options import output_option, print_result, socket_option


@click.command()
@output_option
@socket_option
@click.option("--timeout", type=float, default=5.0, show_default=True, help="Seconds to wait for the answer.")
def command(given_socket: str | None, timeout: float, output: str) -> None:
    """Check that the supervisor answers.

    Exit code 0: it answers; 69: no supervisor is there; 99: no answer came in time.
    """
    print_result(output, "ok", send_request(find_socket_path(given_socket), "GET", "/v1/ping", timeout=timeout))
