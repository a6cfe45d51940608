"""Show every container that Consul knows."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from autopilot.amounts import format_count
from autopilot.cli import fleet_pool
from autopilot.cli.consul_queries import consul_option, query_consul
from autopilot.cli.text_table import format_duration, format_table
from autopilot.cli.verb_options import output_option
from autopilot.errors import AutopilotError
from autopilot.timestamps import parse_timestamp

if TYPE_CHECKING:
    from autopilot.adapters.batch.htcondor.pool_listing import PoolSlot


class PoolQueryError(AutopilotError, click.ClickException):
    """The pool's collector does not answer."""

    exit_code = os.EX_UNAVAILABLE


@click.command()
@click.option("--host", default="", help="Show only containers of this host.")
@click.option("--datacenter", help="Data centre to query.  [default: the agent's own]")
@click.option(
    "--pool",
    "collector",
    is_flag=False,
    flag_value="",
    metavar="[HOST[:PORT]]",
    help="Show also what a pool's collector knows.  [default collector: HTCondor's COLLECTOR_HOST, else $CONDOR_HOST]",
)
@consul_option
@output_option
def command(host: str, datacenter: str | None, collector: str | None, given: str | None, output: str) -> None:
    """Show every container: host, slot, image, channel, age, remaining lifetime, drain state, payloads.

    LEFT is the time until the container drains or, while it drains, until its payloads are asked to end. STATUS is
    alive, maintenance, or lost: the container has stopped reporting to Consul, so it was killed or its host is down.

    With --pool, POOL has the states and activities of the node's HTCondor slots. A container that only Consul knows is
    absent there; a node that only the collector knows has the STATUS unknown.
    """
    from autopilot.adapters.consul import fleet_listing

    containers = query_consul(given, lambda client: fleet_listing.list_containers(client, datacenter))
    if collector is not None:
        containers = fleet_pool.merge_pool(containers, _query_pool(collector), fleet_listing.BLANK_CONTAINER)
    chosen = [container for container in containers if host in ("", container["host"])]
    if output == "json":
        click.echo(json.dumps(chosen, indent=1))
        return
    if not chosen:
        click.echo(
            f"none of {format_count(len(containers), 'container')}" if containers else "Consul knows no container",
            err=True,
        )
        return
    for line in format_table(_build_rows(chosen)):
        click.echo(line)
    click.echo(_format_summary(chosen))
    if collector is not None:
        click.echo(fleet_pool.format_pool_summary(chosen))


def _query_pool(collector: str) -> list[PoolSlot]:
    from autopilot.adapters.batch.htcondor import pool_listing

    try:
        return pool_listing.list_pool_slots(collector)
    except pool_listing.BindingsMissingError as error:
        raise click.ClickException(str(error)) from None
    except pool_listing.CollectorError as error:
        place = f"the collector {collector}" if collector else "the pool's collector"
        remedy = "check its name (--pool HOST:PORT), the network, and this machine's READ right in the pool"
        raise PoolQueryError(f"cannot ask {place}: {str(error).rstrip('.')}; {remedy}") from None


def _format_summary(containers: list[dict[str, Any]]) -> str:
    """Return a line that counts the containers of Consul."""
    containers = [container for container in containers if container["status"] != fleet_pool.UNKNOWN_STATUS]
    hosts, images = (len({container[key] for container in containers}) for key in ("host", "image_digest"))
    states = Counter("draining" if _is_draining(container) else container["status"] for container in containers)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    payloads = sum(container["payloads"] or 0 for container in containers)
    place = f"{format_count(len(containers), 'container')} on {format_count(hosts, 'host')}"
    return f"{place}: {counted}; {format_count(images, 'image')}, {format_count(payloads, 'payload')}"


def _is_draining(container: dict[str, Any]) -> bool:
    return container["status"] == "alive" and container["drain"] not in ("", "no")


def _build_rows(containers: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the table with its header; it has a column for the channel if a container has one."""
    header = ("HOST", "SLOT", "CONTAINER", "IMAGE", "VERSION", "AGE", "LEFT", "DRAIN", "PAYLOADS", "STATUS")
    rows = [header, *(_build_row(container) for container in containers)]
    if "pool" in containers[0]:
        cells = (fleet_pool.COLUMNS, *map(fleet_pool.build_cells, containers))
        rows = [(*row, *more) for row, more in zip(rows, cells, strict=True)]
    if not any(container["channel"] for container in containers):
        return rows
    channels = ("CHANNEL", *(container["channel"] or "-" for container in containers))
    return [(*row[:4], channel, *row[4:]) for row, channel in zip(rows, channels, strict=True)]


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
