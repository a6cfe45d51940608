"""autopilot maintenance: take this container's services out of the traffic, and back."""

from __future__ import annotations

import click

from autopilot.cli.control_client import find_socket_path, output_option, print_result, send_request, socket_option


@click.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@output_option
@socket_option
def command(state: str, output: str, given_socket: str | None) -> None:
    """Enter maintenance (on) or leave it (off). Services stay known to Consul, but nobody is sent to them."""
    print_result(
        output, f"maintenance {state}", send_request(find_socket_path(given_socket), "POST", f"/v1/maintenance/{state}")
    )
