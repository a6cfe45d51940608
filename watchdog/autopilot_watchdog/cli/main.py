"""autopilot-watchdog: keeps a host's slots filled with the newest good image."""

from __future__ import annotations

import importlib

import click

from autopilot_watchdog import __version__

VERBS = {
    "run": "run",
    "watch": "watch",
    "status": "status",
    "explain": "explain",
    "check": "check",
    "pin": "orders",
    "unpin": "orders",
    "rollback": "orders",
    "release": "orders",
    "pause": "orders",
    "resume": "orders",
    "simulate": "simulate",
}


class Verbs(click.Group):
    """Loads a verb's file when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"autopilot_watchdog.cli.{VERBS[name]}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autopilot-watchdog")
def main() -> None:
    """Keep every slot of this host filled with the newest good image, and never stop a container to update it."""
