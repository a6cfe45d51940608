"""autopilot history: lives that were, of this slot from its state directory, of the fleet from Consul."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from autopilot.cli.consul_queries import consul_option, query_consul
from autopilot.cli.control_client import output_option
from autopilot.cli.text_table import format_table
from autopilot.cli.timestamp import TimestampParam
from autopilot.timestamps import parse_timestamp

FIELDS = ("container_id", "host", "slot", "image_digest", "started", "ended", "ended_before", "reason", "life")
SHOWN_FIELDS = tuple(field for field in FIELDS if field != "ended_before")


@click.command()
@click.option("--fleet", is_flag=True, help="Every container's, from Consul's records.")
@click.option("--container", default="", metavar="ID", help="Only this container (or the begin of its id).")
@click.option("--host", default="", help="Only this host.")
@click.option(
    "--at", "moment", type=TimestampParam(), help="Only what ran then: 2026-01-31T12:00:00Z, 12:00 (UTC), 2h (ago)."
)
@consul_option
@output_option
def command(fleet: bool, container: str, host: str, moment: float | None, given: str | None, output: str) -> None:  # noqa: PLR0917 - click
    """Show lives, the oldest first: which container ran where, when, from which image, and why it ended.

    Of the fleet's lives without an end Consul says whether they are running or lost (it hears nothing of them); what
    it does not know any more was killed, and ended before (<) the next life on its slot began.
    """
    found = [
        _normalize_record(record) for record in (_query_fleet_lives(given, moment) if fleet else _read_slot_lives())
    ]
    chosen = [
        life
        for life in found
        if life["container_id"].startswith(container)
        and (not host or life["host"] == host)
        and _has_run_at(life, moment)
    ]
    if output == "json":
        click.echo(json.dumps(chosen, indent=1))
        return
    if not chosen:
        click.echo(f"none of the {len(found)} lives that were looked at" if found else "no life is recorded", err=True)
        return
    rows = [tuple(field.upper().replace("_", " ") for field in SHOWN_FIELDS), *map(_build_row, chosen)]
    for line in format_table(rows):
        click.echo(line)


def _query_fleet_lives(given: str | None, moment: float | None) -> list[dict[str, Any]]:
    from autopilot.adapters.consul.history_store import list_lives

    found: list[dict[str, Any]] = query_consul(given, lambda client: list_lives(client, moment))
    return found


def _read_slot_lives() -> list[dict[str, Any]]:
    """What the state directory keeps: the life before and the last one."""
    from autopilot.app.paths import choose_state_directory

    folder = Path(choose_state_directory(None))
    files = [folder / name for name in ("previous-words.json", "last-words.json")]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def _normalize_record(record: Mapping[str, Any]) -> dict[str, str]:
    """Both kinds of records with the same keys; "" where nothing is known."""
    return {field: str(record.get(field) or record.get(field.replace("_", "-")) or "") for field in FIELDS}


def _has_run_at(life: Mapping[str, str], moment: float | None) -> bool:
    """A life that was killed may have run until its successor began."""
    if moment is None:
        return True
    began, over = parse_timestamp(life["started"]), parse_timestamp(life["ended"] or life["ended_before"])
    return began is not None and began <= moment and (over is None or moment <= over)


def _build_row(life: Mapping[str, str]) -> tuple[str, ...]:
    shortened = {
        "container_id": life["container_id"][:12],
        "image_digest": life["image_digest"].removeprefix("sha256:")[:12],
        "life": life["life"][:8],
        "ended": life["ended"] or (f"<{life['ended_before']}" if life["ended_before"] else ""),
    }
    return tuple({**life, **shortened}[field] or "-" for field in SHOWN_FIELDS)
