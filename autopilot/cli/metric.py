"""autopilot metric: set metrics that the job spec declares."""

from __future__ import annotations

import click

from autopilot.cli.client import ask, pairs, socket_option, socket_path


@click.command()
@click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
@socket_option
def command(settings: tuple[str, ...], given_socket: str | None) -> None:
    """Add to a counter, set a gauge, or observe a value of a histogram or summary of telemetry.metrics."""
    ask(socket_path(given_socket), "POST", "/v1/metrics", pairs(settings))
