"""autopilot-watchdog check: is the configuration right?"""

from __future__ import annotations

import click

from autopilot_watchdog.cli.verb_support import config_option
from autopilot_watchdog.config.config_model import Config


@click.command()
@config_option
def check(config: Config) -> None:
    """Every problem of the configuration with its place and remedy; exit 0 or 78. Asks no engine and no registry."""
    for group in config.slots:
        click.echo(f"{', '.join(group.list_slot_names(config.host))}: {group.image} on {group.engine}")
