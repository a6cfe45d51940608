"""Verbs that send NAME=VALUE settings."""

from __future__ import annotations

import click

from autopilot.cli.control_client import (
    find_socket_path,
    output_option,
    parse_pairs,
    print_result,
    send_request,
    socket_option,
)


def build_settings_command(verb: str, purpose: str, target: str) -> click.Command:
    """The command `autopilot VERB NAME=VALUE...`, which posts the settings to `target`."""

    @click.command(verb, help=purpose)
    @click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
    @output_option
    @socket_option
    def command(settings: tuple[str, ...], output: str, given_socket: str | None) -> None:
        values = parse_pairs(settings)
        print_result(output, f"{len(values)} set", send_request(find_socket_path(given_socket), "POST", target, values))

    return command
