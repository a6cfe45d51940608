"""Print the table of slots: the verb `status`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import click

from autopilot_watchdog.cli.status_document import build_image_rows, build_order_rows
from autopilot_watchdog.cli.verb_support import config_option, get_config_path, output_option
from autopilot_watchdog.config.canary_slots import CanaryGroup
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core.decide import decide
from autopilot_watchdog.core.image_troubles import list_image_troubles
from autopilot_watchdog.core.memory import ImageMemory, SlotMemory
from autopilot_watchdog.core.observation import UNHEALTHY
from autopilot_watchdog.core.slot_channel import find_channel
from autopilot_watchdog.display_text import show_controls
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.reconcile import Watchdog
from autopilot_watchdog.timestamps import format_age


@click.command()
@output_option
@config_option
def status(config: Config, output: str) -> None:
    """Print state, age, digest and container of every slot. Look at the engines, not at registries; change nothing."""
    watchdog = Watchdog(config, Audit(), config_path=get_config_path())
    memory, now = watchdog.store.peek(), time.time()
    observation = watchdog.observe(memory, with_network=False)
    decision = decide(config, observation, memory, now)
    if refusal := watchdog.explain_refusal():
        click.echo(show_controls(refusal), err=True)
    rows: list[dict[str, Any]] = []
    groups = config.map_slots_to_groups()
    for name, reason in sorted(decision.reasons.items()):
        container = decision.containers.get(name)
        digest = container.digest if container else ""
        channel = find_channel(decision.memory, groups[name][0], digest) if name in groups else None
        rows.append(
            {
                "slot": name,
                "state": reason.code,
                "since": container.started if container else _find_empty_since(memory.get_slot(name), reason.code),
                "digest": container.digest if container else memory.get_slot(name).digest or None,
                "container": container.name if container else None,
                "health": container.health or None if container else None,
                "sentence": reason.sentence,
                "channel": channel.name if channel else None,
                "channel_reason": channel.reason or None if channel else None,
            }
        )
    if output == "json":
        document: dict[str, object] = {
            "host": config.host,
            "last_pass": memory.last_pass or None,
            "paused": memory.paused,
            "slots": rows,
            "images": build_image_rows(config, decision.memory, now),
            **build_order_rows(decision.memory),
        }
        click.echo(json.dumps(document, indent=1))
        return
    table = [["SLOT", "STATE", "SINCE", "DIGEST", "CONTAINER"]]
    has_canary = any(group.canary for group in config.slots)
    if has_canary:
        table[0].append("CHANNEL")
    for row in rows:
        since = format_age(now - float(row["since"])) if row["since"] else "-"
        table.append(
            [str(row["slot"]), str(row["state"]), since, str(row["digest"] or "-")[7:19], str(row["container"] or "-")]
            + ([str(row["channel"] or "-")] if has_canary else [])
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(show_controls("  ".join(cells).rstrip()))
    for row in rows:
        if row["state"] not in ("running", "draining") or row["health"] == UNHEALTHY:
            click.echo(show_controls(f"{row['slot']}: {row['sentence']}"))
    for name, channel_reason in list_channel_reasons(rows, groups):
        click.echo(show_controls(f"{name}: {channel_reason}"))
    for key in dict.fromkeys(group.image_key for group in config.list_channels(with_followed=True)):
        click.echo(show_controls(_describe_image(key, decision.memory.get_image(key), now)))
    last = (
        f"last pass {format_age(now - memory.last_pass)} ago"
        if memory.last_pass
        else "no pass yet: does the timer run?"
    )
    click.echo(f"{last}{'; paused: `autopilot-watchdog resume` ends that' if memory.paused else ''}")


def list_channel_reasons(
    rows: list[dict[str, Any]], groups: Mapping[str, tuple[SlotGroup, int]]
) -> list[tuple[str, str]]:
    """Return the reason of each canary slot's channel, by its name, and, once for its group, of the other slots'."""
    reasons: dict[tuple[str, str], None] = {}
    for row in rows:
        if row["channel_reason"]:
            group, _ = groups[row["slot"]]
            reasons[row["slot"] if isinstance(group, CanaryGroup) else group.name, row["channel_reason"]] = None
    return list(reasons)


def _find_empty_since(slot: SlotMemory, code: str) -> float | None:
    """Return the epoch seconds since which a slot is empty: the end of its last life, else the start of its reason."""
    known = slot.since if slot.code == code else 0.0
    return (known if code == "engine-unknown" else slot.ended or known) or None


def _describe_image(key: str, image: ImageMemory, now: float) -> str:
    newest = f"newest {image.newest[7:19]}{' (quarantined)' if image.newest in image.quarantine else ''}"
    parts = [newest if image.newest else "newest unknown"]
    parts.append(f"good {image.last_good[7:19]}" if image.last_good else "none is known good")
    if image.pin:
        parts.append(f"pinned to {image.pin[7:19]}")
    if image.answered_at and not image.trouble:
        parts.append(f"the registry answered {format_age(now - image.answered_at)} ago")
    parts += list_image_troubles(image, now)
    return f"{key}: {', '.join(parts)}"
