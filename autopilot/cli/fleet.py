"""autopilot fleet: every container that Consul knows."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from autopilot.cli.client import output_option
from autopilot.cli.consul import asked, consul_option
from autopilot.cli.table import span, table


@click.command()
@click.option("--datacenter", help="Another data centre than the agent's own.")
@consul_option
@output_option
def command(datacenter: str | None, given: str | None, output: str) -> None:
    """Show every container: host, slot, image, age, lifetime left, drain state, payloads."""
    from autopilot.adapters.consul import fleet

    found = asked(given, lambda client: fleet.containers(client, datacenter))
    if output == "json":
        click.echo(json.dumps(found, indent=1))
        return
    header = ("HOST", "SLOT", "CONTAINER", "IMAGE", "VERSION", "AGE", "LEFT", "DRAIN", "PAYLOADS", "STATUS")
    for line in table([header, *(_row(container) for container in found)]):
        click.echo(line)


def _row(container: dict[str, Any]) -> tuple[str, ...]:
    from autopilot.adapters.consul.fleet import epoch

    now = time.time()
    started, end = epoch(container["started"]), epoch(container["lifetime_end"])
    return (
        container["host"],
        container["slot"] or "-",
        container["container_id"][:12] or "-",
        container["image_digest"].removeprefix("sha256:")[:12] or "-",
        container["version"],
        span(now - started) if started is not None else "-",
        span(end - now) if end is not None else "-",
        container["drain"] or "-",
        "-" if container["payloads"] is None else str(container["payloads"]),
        container["status"],
    )
