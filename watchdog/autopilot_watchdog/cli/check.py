"""Check the configuration: the verb `check`."""

from __future__ import annotations

import click

from autopilot_watchdog.cli.verb_support import config_option
from autopilot_watchdog.config.config_model import Config


@click.command()
@config_option
def check(config: Config) -> None:
    """Print every problem of the configuration with its place and remedy; exit 0 or 78. Ask no engine or registry."""
    for group in config.slots:
        click.echo(f"{', '.join(group.list_slot_names(config.host))}: {group.image} on {group.engine}")
