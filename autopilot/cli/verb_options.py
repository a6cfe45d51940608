"""Declare the options that verbs share, and print their results."""

from __future__ import annotations

import json
import os
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


def _find_config(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """Return the named job spec, or the one that `run` would take; without any, end as wrong use."""
    if value is not None:
        return value
    from autopilot.app.paths import NoConfigError, find_default_config

    try:
        return find_default_config(os.environ)
    except NoConfigError as error:
        raise click.UsageError(str(error).replace("VERB", str(ctx.info_name)), ctx) from None


config_argument = click.argument("config", required=False, type=click.Path(allow_dash=True), callback=_find_config)
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
