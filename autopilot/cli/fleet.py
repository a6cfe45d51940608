"""autopilot fleet: every container that Consul knows."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import click

from autopilot.cli.consul_queries import consul_option, query_consul
from autopilot.cli.control_client import output_option
from autopilot.cli.text_table import format_duration, format_table
from autopilot.timestamps import parse_timestamp


@click.command()
@click.option("--host", default="", help="Only this host.")
@click.option("--datacenter", help="Another data centre than the agent's own.")
@consul_option
@output_option
def command(host: str, datacenter: str | None, given: str | None, output: str) -> None:
    """Show every container: host, slot, image, age, lifetime left, drain state, payloads.

    LEFT is the time until it drains, or until its payloads are asked to end when it drains already. STATUS is alive,
    maintenance, or lost: Consul hears nothing of it, so it was killed or its host is down.
    """
    from autopilot.adapters.consul import fleet_listing

    every = query_consul(given, lambda client: fleet_listing.list_containers(client, datacenter))
    found = [container for container in every if host in ("", container["host"])]
    if output == "json":
        click.echo(json.dumps(found, indent=1))
        return
    if not found:
        click.echo(f"none of {len(every)} containers" if every else "Consul knows no container", err=True)
        return
    header = ("HOST", "SLOT", "CONTAINER", "IMAGE", "VERSION", "AGE", "LEFT", "DRAIN", "PAYLOADS", "STATUS")
    for line in format_table([header, *(_build_row(container) for container in found)]):
        click.echo(line)
    click.echo(_format_summary(found))


def _format_summary(containers: list[dict[str, Any]]) -> str:
    hosts, images = (len({container[key] for container in containers}) for key in ("host", "image_digest"))
    states = Counter("draining" if _is_draining(container) else container["status"] for container in containers)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    payloads = sum(container["payloads"] or 0 for container in containers)
    return f"{len(containers)} containers on {hosts} hosts: {counted}; {images} images, {payloads} payloads"


def _is_draining(container: dict[str, Any]) -> bool:
    return container["status"] == "alive" and container["drain"] not in ("", "no")


def _build_row(container: dict[str, Any]) -> tuple[str, ...]:
    now = time.time()
    started, end = parse_timestamp(container["started"]), parse_timestamp(container["lifetime_end"])
    if _is_draining(container):
        end = parse_timestamp(container["drain_deadline"])
    return (
        container["host"],
        container["slot"] or "-",
        container["container_id"][:12] or "-",
        container["image_digest"].removeprefix("sha256:")[:12] or "-",
        container["version"],
        format_duration(now - started) if started is not None else "-",
        format_duration(end - now) if end is not None else "-",
        container["drain"] or "-",
        "-" if container["payloads"] is None else str(container["payloads"]),
        container["status"],
    )
