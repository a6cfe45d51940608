"""autopilot run: the supervisor. The entry point takes a shorter way to the same place."""

from __future__ import annotations

import click


@click.command()
@click.argument("config", required=False, type=click.Path())
@click.pass_context
def command(ctx: click.Context, config: str | None) -> None:
    """Run the supervisor: as PID 1 of a container, or as a plain process.

    CONFIG is the job spec: else $AUTOPILOT_CONFIG, else $CONTAINERPILOT, else /etc/autopilot.json.
    """
    from autopilot.app.boot import run

    ctx.exit(run(config))
