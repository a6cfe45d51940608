"""Check the configuration: the verb `check`."""

from __future__ import annotations

import click

from autopilot_watchdog.cli.verb_support import config_option
from autopilot_watchdog.config.canary_slots import (
    CanaryGroup,
    describe_promotion,
    describe_rule,
    format_canary_image,
)
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.shell.host_capacity import find_capacity_warnings, read_host_capacity


@click.command()
@config_option
def check(config: Config) -> None:
    """Print every problem of the configuration with its place and remedy; exit 0 or 78. Ask no engine or registry.

    Warnings compare the slots' resources with this machine; they do not change the exit code.
    """
    for group in config.slots:
        slots = config.map_slots_to_groups()
        names = group.list_slot_names(config.host)
        canaries = [name for name in names if isinstance(slots[name][0], CanaryGroup)]
        others = [name for name in names if name not in canaries]
        if others:
            click.echo(f"{', '.join(others)}: {group.image} on {group.engine}")
        if group.canary:
            found = f"{', '.join(canaries) or 'no slot of this host'}: {format_canary_image(group)} on {group.engine}"
            click.echo(f"{found}, the canary ({describe_rule(group.canary)}; {describe_promotion(group.canary)})")
    for warning in find_capacity_warnings(config, read_host_capacity()):
        click.echo(f"warning, on this machine: {warning}", err=True)
