"""Define the command autopilot-watchdog and its table of verbs."""

from __future__ import annotations

import importlib
import os
from typing import Any

import click

from autopilot_watchdog import __version__

click.UsageError.exit_code = os.EX_USAGE  # 2 could be the status of a command that `exec` runs

VERB_MODULES = {
    "run": "run",
    "watch": "watch",
    "status": "status",
    "explain": "explain",
    "check": "check",
    "pin": "order_verbs",
    "unpin": "order_verbs",
    "rollback": "order_verbs",
    "promote": "canary_verbs",
    "release": "order_verbs",
    "quarantine": "order_verbs",
    "retry": "order_verbs",
    "pause": "order_verbs",
    "resume": "order_verbs",
    "adopt": "state_verbs",
    "forget-engine": "state_verbs",
    "drain": "slot_verbs",
    "cordon": "slot_verbs",
    "uncordon": "slot_verbs",
    "retire": "slot_verbs",
    "stop": "slot_verbs",
    "logs": "container_verbs",
    "exec": "container_verbs",
    "history": "container_verbs",
    "simulate": "simulate",
    "completion": "completion_script",
}


class VerbGroup(click.Group):
    """Group of verbs that imports the file of a verb on demand."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the verbs."""
        return list(VERB_MODULES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command of a verb; None for an unknown name."""
        if name not in VERB_MODULES:
            return None
        module = importlib.import_module(f"autopilot_watchdog.cli.{VERB_MODULES[name]}")
        command = getattr(module, name.replace("-", "_"), None) or getattr(
            module, f"{name}_command"
        )  # a name may be a builtin's
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a verb; propose the verbs that an unknown name resembles."""
        try:
            return super().resolve_command(context, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=VERB_MODULES, ctx=context) from None

    def invoke(self, context: click.Context) -> Any:
        """Run a verb; a state that it cannot use is a sentence and an exit code."""
        from autopilot_watchdog.cli.verb_support import EX_CANTCREAT, EX_CONFIG, fail
        from autopilot_watchdog.core.state_ownership import ForeignConfigError
        from autopilot_watchdog.shell.state_file import StateError

        try:
            return super().invoke(context)
        except StateError as error:
            fail(str(error), EX_CANTCREAT)
        except ForeignConfigError as error:
            fail(str(error), EX_CONFIG)


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", prog_name="autopilot-watchdog")
def main() -> None:
    """Keep every slot of this host filled with the newest good image, and never stop a container to update it."""
