"""autopilot env: change what processes that start from now on find in their environment."""

from __future__ import annotations

import click

from autopilot.cli.client import ask, output_option, pairs, say, socket_option, socket_path


@click.command()
@click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
@output_option
@socket_option
def command(settings: tuple[str, ...], output: str, given_socket: str | None) -> None:
    """Set environment variables of jobs and checks that start from now on; NAME= unsets one."""
    values = pairs(settings)
    say(output, f"{len(values)} set", ask(socket_path(given_socket), "POST", "/v1/env", values))
