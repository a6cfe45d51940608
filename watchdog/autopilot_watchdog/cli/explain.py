"""autopilot-watchdog explain: why a slot is as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import click

from autopilot_watchdog.cli.status import format_age
from autopilot_watchdog.cli.verb_support import EX_USAGE, config_option, fail, get_audit_path, output_option
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.decide import decide
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.reasons import REASON_CODES
from autopilot_watchdog.core.rollout import compute_admission_time, compute_drain_deadline, list_digest_choices
from autopilot_watchdog.shell.audit import Audit, read_recent_entries
from autopilot_watchdog.shell.reconcile import Watchdog


@click.command()
@click.argument("slot")
@output_option
@config_option
def explain(config: Config, slot: str, output: str) -> None:
    """One reason code and one sentence for a slot; then what is known of its image, and what lately happened to it."""
    groups = config.map_slots_to_groups()
    if slot not in groups:
        fail(f"there is no slot {slot}; there are {', '.join(groups)}", EX_USAGE)
    watchdog = Watchdog(config, Audit())
    memory, now = watchdog.store.peek(), time.time()
    decision = decide(config, watchdog.observe(memory, with_network=False), memory, now)
    reason, key = decision.reasons[slot], groups[slot][0].image_key
    facts = list(_describe_image(config, decision.memory, key, now))
    if output == "json":
        click.echo(
            json.dumps(
                {
                    "slot": slot,
                    "code": reason.code,
                    "sentence": reason.sentence,
                    "facts": facts,
                    "lately": read_recent_entries(get_audit_path(config), slot),
                },
                indent=1,
            )
        )
        return
    click.echo(f"{slot} {reason.code}: {reason.sentence}")
    click.echo(f"  {reason.code}: {REASON_CODES[reason.code]}")
    for fact in facts:
        click.echo(f"  {fact}")
    for line in read_recent_entries(get_audit_path(config), slot):
        click.echo(f"  {line}")


def _describe_image(config: Config, memory: Memory, key: str, now: float) -> Iterator[str]:
    image = memory.get_image(key)
    if image.head:
        yield f"the registry's newest is {image.head}, as of {format_age(now - image.head_at)} ago"
    if image.trouble:
        yield f"the registry's last answer was none: {image.trouble}"
    if image.pin:
        yield f"pinned to {image.pin}"
    if image.head and (urgency := image.get_digest_record(image.head, now).urgency or memory.urgency):
        by = compute_drain_deadline(memory, image.get_digest_record(image.head, now))
        if by is None:
            yield f'the urgency "{urgency}" is neither "now" nor a date, such as 2026-12-01T12:00Z: it is ignored'
        else:
            left = f"within {format_age(by - now)}" if by > now else "at once"
            yield f"the newest is urgent ({urgency}): containers of older ones are asked to drain {left}"
    if image.head and image.head not in image.quarantine:
        due = compute_admission_time(memory, key, image.head, config, now)
        if due > now:
            yield f"this host's turn for the newest comes in {format_age(due - now)}"
    for good in image.goods:
        yield f"good here: {good.digest}"
    for digest, held in image.quarantine.items():
        told = {"shared": "this host, which told the fleet", "host": "this host", "fleet": "the fleet"}
        who = told.get(held.source, f"the {held.source}")
        proof = "" if held.confirmed else " (not confirmed: no good digest has lived well here since)"
        yield f"quarantined {format_age(now - held.since)} ago by {who}{proof}: {digest}: {held.reason}"
        yield f"  to lift that: autopilot-watchdog release {digest[:19]}"
    found = list_digest_choices(memory, key, config, now)
    yield f"the next life takes {found[0].digest}, {found[0].reason}" if found else "no digest may be started"
