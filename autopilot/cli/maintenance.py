"""Take this container's services out of the traffic, or return them."""

from __future__ import annotations

import click

from autopilot.cli.control_client import find_socket_path, send_request
from autopilot.cli.verb_options import output_option, print_result, socket_option


@click.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@output_option
@socket_option
def command(state: str, output: str, given_socket: str | None) -> None:
    """Enter maintenance (on) or leave it (off). Services stay registered in Consul, but receive no traffic."""
    answer = send_request(find_socket_path(given_socket), "POST", f"/v1/maintenance/{state}")
    print_result(output, f"maintenance {state}", answer)
