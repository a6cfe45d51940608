"""Run the supervisor. The entry point runs it directly in the usual case, and needs no click then."""

from __future__ import annotations

import click


@click.command()
@click.argument("config", required=False, type=click.Path())
@click.pass_context
def command(ctx: click.Context, config: str | None) -> None:
    """Run the supervisor, as PID 1 of a container or as a plain process.

    CONFIG is the job spec. The default is $AUTOPILOT_CONFIG, else $CONTAINERPILOT, else /etc/autopilot.json5, else
    /etc/autopilot.json.
    """
    from autopilot.app.boot import run

    ctx.exit(run(config))
