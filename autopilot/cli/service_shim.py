"""Run the `service` shim: `service NAME VERB` is `systemctl VERB NAME`."""

from __future__ import annotations

import click

from autopilot.cli.systemctl_shim import ALIASES, run_systemctl
from autopilot.cli.systemd_units import print_error

VERBS = ("start", "stop", "restart", "try-restart", "condrestart", "reload", "force-reload", "status")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", required=False)
@click.argument("verb", required=False)
@click.option("--status-all", is_flag=True)
def command(name: str | None, verb: str | None, status_all: bool) -> None:
    """Act on the jobs of this container as `service` would (docs/command-line.md)."""
    if status_all:
        raise SystemExit(run_systemctl("list-units", (), {}))
    if name is None or verb not in VERBS:
        print_error(f"Usage: service NAME {'|'.join(VERBS)}, or service --status-all")
        raise SystemExit(2)  # LSB: invalid or excess arguments
    raise SystemExit(run_systemctl(ALIASES.get(verb, verb), (name,), {}))
