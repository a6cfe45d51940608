"""autopilot ping: is the supervisor there, and does it answer?"""

from __future__ import annotations

import click

from autopilot.cli.control_client import find_socket_path, output_option, print_result, send_request, socket_option


@click.command()
@output_option
@socket_option
@click.option("--timeout", type=float, default=5.0, show_default=True, help="Seconds to wait for the answer.")
def command(given_socket: str | None, timeout: float, output: str) -> None:
    """Ask whether the supervisor answers. Exit 0: it does; 69: nobody there; 99: no answer in time."""
    print_result(output, "ok", send_request(find_socket_path(given_socket), "GET", "/v1/ping", timeout=timeout))
