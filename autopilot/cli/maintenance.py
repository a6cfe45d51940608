"""autopilot maintenance: take this container's services out of the traffic, and back."""

from __future__ import annotations

import click

from autopilot.cli.client import ask, socket_option, socket_path


@click.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@socket_option
def command(state: str, given_socket: str | None) -> None:
    """Enter maintenance (on) or leave it (off). Services stay known to Consul, but nobody is sent to them."""
    ask(socket_path(given_socket), "POST", f"/v1/maintenance/{state}")
