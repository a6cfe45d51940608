"""Define the command `autopilot`: its verbs, and the errors that they share."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from autopilot import __version__
from autopilot.cli.control_client import ControlError
from autopilot.errors import AutopilotError

click.UsageError.exit_code = os.EX_USAGE  # 2 could be a job's own code

VERBS = {
    "run": "Run the supervisor.",
    "check": "Check a job spec, and print every problem.",
    "plan": "Print the effective plan, with every default filled in.",
    "schema": "Print the JSON Schema of the job spec.",
    "convert": "Convert a configuration of ContainerPilot 2 or supervisord to a job spec.",
    "status": "Show the state of the jobs and of the lifetime.",
    "why": "Explain in one line why a job is in its state.",
    "logs": "Show the last log lines of the jobs; -f follows.",
    "events": "Show the last events; -f follows.",
    "ping": "Check that the supervisor answers.",
    "drain": "End this life peacefully: no new payload starts, running ones finish.",
    "stop": "Stop everything in order and end this life; or stop single jobs.",
    "start": "Start jobs.",
    "restart": "Restart jobs.",
    "signal": "Send a signal to a job.",
    "reload": "Read the job spec again, and restart only jobs that have changed.",
    "fleet": "Show every container that Consul knows.",
    "history": "Show past lives of this slot, or of the fleet.",
    "env": "Change the environment of processes that start from now on.",
    "metric": "Set metrics that the job spec declares.",
    "maintenance": "Take the services out of the traffic (on), or return them (off).",
    "shims": "Write `systemctl` and `service` commands for scripts that need them.",
    "completion": "Print the completion script for bash, zsh or fish.",
}
HIDDEN_VERBS = ("systemctl", "service")  # called by the shims
# a module named signal would hide the standard library's; the shims' names would say nothing in a listing
MODULES = {"signal": "signal_job", "systemctl": "systemctl_shim", "service": "service_shim"}


class RequestFailedError(AutopilotError, click.ClickException):
    """End of a verb whose request failed, with the exit code of the failure."""

    def __init__(self, error: ControlError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it from the instance


class VerbGroup(click.Group):
    """Group that knows the names of its verbs, and loads a verb when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of a verb; None for an unknown one."""
        if name not in VERBS and name not in HIDDEN_VERBS:
            return None
        module = MODULES.get(name, name)
        command: click.Command = import_module(f"autopilot.cli.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a verb; propose the verbs that an unknown name resembles."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=VERBS, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without loading them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; a failed request ends it with one sentence and the exit code of its kind."""
        try:
            return super().invoke(ctx)
        except ControlError as error:
            raise RequestFailedError(error) from None


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V")
def main() -> None:
    """Supervise the jobs of a container as its PID 1, and let a batch worker's container manage itself."""
