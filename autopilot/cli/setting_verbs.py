"""Build the verbs that send NAME=VALUE settings."""

from __future__ import annotations

import click

from autopilot.cli.control_client import find_socket_path, parse_pairs, send_request
from autopilot.cli.verb_options import output_option, print_result, socket_option


def build_settings_command(verb: str, purpose: str, target: str) -> click.Command:
    """Build the command `autopilot VERB NAME=VALUE...`, which posts the settings to the path `target`."""

    @click.command(verb, help=purpose)
    @click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
    @output_option
    @socket_option
    def command(settings: tuple[str, ...], output: str, given_socket: str | None) -> None:
        values = parse_pairs(settings)
        print_result(output, f"{len(values)} set", send_request(find_socket_path(given_socket), "POST", target, values))

    return command
