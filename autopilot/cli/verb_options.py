"""Declare the options that verbs share, and print their results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click


class DurationParam(click.ParamType["float"]):
    """Duration in the notation of the job spec, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert a text such as `90s`; a wrong one is a usage error."""
        from autopilot.spec.quantities import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


socket_option = click.option(
    "--socket", "given_socket", metavar="PATH", help="Control socket of the supervisor.  [default: $AUTOPILOT_SOCKET]"
)
output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
wait_options = (
    click.option("--no-wait", is_flag=True, help="Return at once."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Stop waiting after SECONDS (exit code 99)."),
)


def add_wait_options(command: Any) -> Any:
    """Add --no-wait and --timeout to a command."""
    for option in wait_options:
        command = option(command)
    return command


def print_result(output: str, text: str, data: Mapping[str, Any]) -> None:
    """Print the text, or with `output` "json" the data on one line."""
    click.echo(json.dumps(data) if output == "json" else text)
