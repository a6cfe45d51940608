"""Verbs that send NAME=VALUE settings."""

from __future__ import annotations

import click

from autopilot.cli.client import ask, output_option, pairs, say, socket_option, socket_path


def settings_verb(verb: str, purpose: str, target: str) -> click.Command:
    """The command `autopilot VERB NAME=VALUE...`, which posts the settings to `target`."""

    @click.command(verb, help=purpose)
    @click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
    @output_option
    @socket_option
    def command(settings: tuple[str, ...], output: str, given_socket: str | None) -> None:
        values = pairs(settings)
        say(output, f"{len(values)} set", ask(socket_path(given_socket), "POST", target, values))

    return command
