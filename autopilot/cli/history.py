"""Show past lives: of this slot from its state directory, of the fleet from Consul."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from autopilot.cli.consul_queries import consul_option, query_consul
from autopilot.cli.text_table import format_table
from autopilot.cli.timestamp import TimestampParam
from autopilot.cli.verb_options import output_option
from autopilot.safe_files import read_file
from autopilot.timestamps import parse_timestamp

FIELDS = ("container_id", "host", "slot", "image_digest", "started", "ended", "ended_before", "reason", "life")
MAX_RECORD_BYTES = 1 << 16
SHOWN_FIELDS = tuple(field for field in FIELDS if field != "ended_before")


@click.command()
@click.option("--fleet", is_flag=True, help="Show the lives of all containers, from Consul.")
@click.option("--container", default="", metavar="ID", help="Show only the container whose id begins with ID.")
@click.option("--host", default="", help="Show only this host.")
@click.option(
    "--at",
    "moment",
    type=TimestampParam(),
    help="Show only lives that ran at TIME: 2026-01-31T12:00:00Z, 12:00 (UTC), 2h (ago).",
)
@consul_option
@output_option
def command(fleet: bool, container: str, host: str, moment: float | None, given: str | None, output: str) -> None:  # noqa: PLR0917 - click
    """Show lives, the oldest first: container, host, slot, image, start, end, and the reason of the end.

    A life of the fleet without a recorded end is running, or lost (the container has stopped reporting to Consul). A
    life that Consul no longer knows was killed: it ended before (<) the next life of its slot began.
    """
    lives = [
        _normalize_record(record) for record in (_query_fleet_lives(given, moment) if fleet else _read_slot_lives())
    ]
    chosen = [
        life
        for life in lives
        if life["container_id"].startswith(container)
        and (not host or life["host"] == host)
        and _has_run_at(life, moment)
    ]
    if output == "json":
        click.echo(json.dumps(chosen, indent=1))
        return
    if not chosen:
        click.echo(f"none of {len(lives)} lives" if lives else "no life is recorded", err=True)
        return
    rows = [tuple(field.upper().replace("_", " ") for field in SHOWN_FIELDS), *map(_build_row, chosen)]
    for line in format_table(rows):
        click.echo(line)


def _query_fleet_lives(given: str | None, moment: float | None) -> list[dict[str, Any]]:
    from autopilot.adapters.consul.history_store import list_lives

    lives: list[dict[str, Any]] = query_consul(given, lambda client: list_lives(client, moment))
    return lives


def _read_slot_lives() -> list[dict[str, Any]]:
    """Return the records in the state directory: the last life and the one before; garbage is left out."""
    from autopilot.state_directory import choose_state_directory

    folder = Path(choose_state_directory(None))
    records = (_read_record(folder / name) for name in ("previous-words.json", "last-words.json"))
    return [record for record in records if record is not None]


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return the record in a file; None when there is none, with a line when the file is something else."""
    try:
        record = json.loads(read_file(path, MAX_RECORD_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        click.echo(f"cannot read {path}: {error}", err=True)
        return None
    return record if isinstance(record, dict) else None


def _normalize_record(record: Mapping[str, Any]) -> dict[str, str]:
    """Give a record of either source the same keys; "" stands for an unknown value."""
    return {field: str(record.get(field) or record.get(field.replace("_", "-")) or "") for field in FIELDS}


def _has_run_at(life: Mapping[str, str], moment: float | None) -> bool:
    """Return True when the life may have run at that time: a killed one until its successor began."""
    if moment is None:
        return True
    start, end = parse_timestamp(life["started"]), parse_timestamp(life["ended"] or life["ended_before"])
    return start is not None and start <= moment and (end is None or moment <= end)


def _build_row(life: Mapping[str, str]) -> tuple[str, ...]:
    shortened = {
        "container_id": life["container_id"][:12],
        "image_digest": life["image_digest"].removeprefix("sha256:")[:12],
        "life": life["life"][:8],
        "ended": life["ended"] or (f"<{life['ended_before']}" if life["ended_before"] else ""),
    }
    return tuple({**life, **shortened}[field] or "-" for field in SHOWN_FIELDS)
