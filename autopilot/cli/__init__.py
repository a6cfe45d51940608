"""The command line: one file for each verb, loaded when it is called."""

from __future__ import annotations

import os
from importlib import import_module

import click

from autopilot import __version__

click.UsageError.exit_code = os.EX_USAGE  # 2 could be a job's own code

VERBS = {
    "run": "Run the supervisor.",
    "check": "Say everything that is wrong with a job spec.",
    "plan": "Print the effective plan, every default filled in.",
    "schema": "Print the JSON Schema of the job spec.",
    "status": "Show the jobs and the life.",
    "why": "Say in one line why a job is as it is.",
    "logs": "Show the last lines of the jobs; -f follows.",
    "events": "Show what has happened; -f follows.",
    "ping": "Ask whether the supervisor answers.",
    "drain": "End this life peacefully: no new payload, the running ones finish.",
    "stop": "Stop everything now, in order; or one job.",
    "start": "Start a job that is over.",
    "restart": "Restart a job.",
    "signal": "Send a signal to a job.",
    "reload": "Take the job spec anew: only what changed is restarted.",
    "fleet": "Show every container that Consul knows.",
    "history": "Show lives that were, of this slot or of the fleet.",
    "env": "Change the environment of what starts from now on.",
    "metric": "Set metrics that the job spec declares.",
    "maintenance": "Take the services out of the traffic (on), and back (off).",
    "shims": "Write systemctl and service for scripts that know no other way.",
    "completion": "Print the shell's completion: bash, zsh, fish.",
}
HIDDEN_VERBS = ("systemctl", "service")  # what the shims call
MODULES = {"signal": "signal_job", "systemctl": "systemctl_shim", "service": "service_shim"}  # not named as their verb


class VerbGroup(click.Group):
    """Knows the verbs' names without loading them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS and name not in HIDDEN_VERBS:
            return None
        module = MODULES.get(name, name)
        command: click.Command = import_module(f"autopilot.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V")
def main() -> None:
    """A PID 1 that makes a batch worker's container manage itself."""
