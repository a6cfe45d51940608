"""Check the configuration: the verb `check`."""

from __future__ import annotations

import click

from autopilot_watchdog.cli.verb_support import config_option
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.shell.host_capacity import find_capacity_warnings, read_host_capacity


@click.command()
@config_option
def check(config: Config) -> None:
    """Print every problem of the configuration with its place and remedy; exit 0 or 78. Ask no engine or registry.

    Warnings compare the slots' resources with this machine; they do not change the exit code.
    """
    for group in config.slots:
        click.echo(f"{', '.join(group.list_slot_names(config.host))}: {group.image} on {group.engine}")
    for warning in find_capacity_warnings(config, read_host_capacity()):
        click.echo(f"warning, on this machine: {warning}", err=True)
