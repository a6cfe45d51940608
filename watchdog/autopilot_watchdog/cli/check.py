"""Check the configuration: the verb `check`."""

from __future__ import annotations

import os

import click

from autopilot_watchdog.cli.verb_support import CONFIG_VARIABLE, DEFAULT_CONFIG_PATH, read_config
from autopilot_watchdog.config.canary_slots import (
    CanaryGroup,
    describe_promotion,
    describe_rule,
    format_canary_image,
)
from autopilot_watchdog.shell.host_capacity import find_capacity_warnings, read_host_capacity


@click.command()
@click.argument("file", required=False)
@click.option("--config", "-c", "option", metavar="FILE", help="FILE, as the other verbs take it.")
def check(file: str | None, option: str | None) -> None:
    """Print every problem of the configuration with its place and remedy; exit 0 or 78. Ask no engine or registry.

    Without FILE it checks the one that $AUTOPILOT_WATCHDOG_CONFIG names, else /etc/autopilot-watchdog.json. Warnings
    compare the slots' resources with this machine; they do not change the exit code.
    """
    if file and option and file != option:
        raise click.UsageError(f"two configurations to check: {file} and {option}; name one")
    path = file or option or os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG_PATH
    config = read_config(path)
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
