"""Explain the state of one slot: the verb `explain`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import click

from autopilot_watchdog.cli.verb_support import (
    EX_USAGE,
    config_option,
    fail,
    get_audit_path,
    get_config_path,
    output_option,
)
from autopilot_watchdog.config.canary_slots import CanaryGroup, build_canary_group
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import canary_state, evidence
from autopilot_watchdog.core.decide import decide
from autopilot_watchdog.core.drain_deadline import compute_drain_deadline
from autopilot_watchdog.core.image_troubles import list_image_troubles
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.promotion import list_promotion_waits
from autopilot_watchdog.core.reasons import REASON_CODES
from autopilot_watchdog.core.ring_evidence import NEVER, describe_ring_wait
from autopilot_watchdog.core.rollout import compute_admission_time, compute_promotion_time, list_slot_choices
from autopilot_watchdog.core.slot_channel import find_channel
from autopilot_watchdog.display_text import show_controls
from autopilot_watchdog.sentence_parts import format_repeats
from autopilot_watchdog.shell.audit import Audit, read_recent_entries
from autopilot_watchdog.shell.reconcile import Watchdog
from autopilot_watchdog.timestamps import format_age

SOURCE_NAMES = {  # of a quarantine
    "host": "this host",
    "shared": "this host, which told the fleet",
    "rates": "this host, by comparison with the digest before it",
    "hosts": "other hosts of the fleet",
    "fleet": "an operator, for the fleet",
    "operator": "the operator",
}


@click.command()
@click.argument("slot")
@output_option
@config_option
def explain(config: Config, slot: str, output: str) -> None:
    """Print a slot's reason code and sentence, details of its image, and the latest events of the slot."""
    groups = config.map_slots_to_groups()
    watchdog = Watchdog(config, Audit(), config_path=get_config_path())
    memory, now = watchdog.store.peek(), time.time()
    if refusal := watchdog.explain_refusal():
        click.echo(show_controls(refusal), err=True)
    decision = decide(config, watchdog.observe(memory, with_network=False), memory, now)
    by_container = {container.name: name for name, container in decision.containers.items()}
    slot = slot if slot in decision.reasons else by_container.get(slot, slot)
    if slot not in decision.reasons:
        sentence = f"there is no slot {slot} and no living container of this name"
        fail(f"{sentence}; there are {', '.join(decision.reasons)}", EX_USAGE)
    reason = decision.reasons[slot]
    if slot in groups:
        group, container = groups[slot][0], decision.containers.get(slot)
        channel = find_channel(decision.memory, group, container.digest if container else "").reason
        details = [*([channel] if channel else []), *_describe_image(config, decision.memory, group, slot, now)]
    else:
        details = list(_describe_surplus(decision.memory, decision.containers[slot]))
    if output == "json":
        click.echo(
            json.dumps(
                {
                    "slot": slot,
                    "code": reason.code,
                    "sentence": reason.sentence,
                    "details": details,
                    "lately": read_recent_entries(get_audit_path(config), slot),
                },
                indent=1,
            )
        )
        return
    click.echo(show_controls(f"{slot} {reason.code}: {reason.sentence}"))
    click.echo(f"  {reason.code}: {REASON_CODES[reason.code]}")
    for detail in details:
        click.echo(f"  {show_controls(detail)}")
    for line in read_recent_entries(get_audit_path(config), slot):
        click.echo(f"  {line}")


def _describe_surplus(memory: Memory, container: Container) -> Iterator[str]:
    yield f"{container.name} runs {container.image}, digest {container.digest}"
    if container.id in memory.drained:
        yield "it was asked to drain"
    if retry := memory.drain_retries.get(container.id):
        yield f"asking it to drain failed {format_repeats(retry.tries)}: see the event drain-failed"
    if container.claims.own:
        yield f"it has for itself: {', '.join(container.claims.own)}"


def _describe_turn(config: Config, memory: Memory, group: SlotGroup, key: str, now: float) -> Iterator[str]:
    image = memory.get_image(key)
    if image.newest and image.newest not in image.quarantine:
        due = compute_admission_time(memory, key, image.newest, config, now, group=group.name)
        missing = describe_ring_wait(config, memory, group, image.newest)
        if missing and due > now:
            latest = "" if due == NEVER else f", for {format_age(due - now)} at the longest"
            yield f"this host's ring waits for {missing}{latest}"
        elif now < due < NEVER:
            yield f"this host's turn for the newest comes in {format_age(due - now)}"


def _describe_promotion(config: Config, memory: Memory, group: SlotGroup, now: float) -> Iterator[str]:
    turn = compute_promotion_time(memory, group, config, now)
    if turn is not None and now < turn < NEVER:
        yield f"this host's turn for the promoted digest comes in {format_age(turn - now)}"
    if group.canary is None or canary_state.explain_end(memory, build_canary_group(group)):
        return
    waits = ", ".join(list_promotion_waits(config, memory, group, now))
    if group.canary.promote.is_manual:
        yield "the canary's digest becomes the group's by `autopilot-watchdog promote`"
    elif waits:
        yield f"the canary's digest becomes the group's after {waits}"


def _describe_image(config: Config, memory: Memory, group: SlotGroup, slot: str, now: float) -> Iterator[str]:
    key = group.image_key
    if isinstance(group, CanaryGroup) and canary_state.explain_end(memory, group):
        key = group.stable_key
    image = memory.get_image(key)
    if image.newest:
        yield f"the registry's newest is {image.newest}, as of {format_age(now - image.answered_at)} ago"
    yield from list_image_troubles(image, now)
    if image.pin:
        yield f"the operator pinned the image to {image.pin}"
    if image.newest and (urgency := image.get_digest_record(image.newest, now).urgency or memory.urgency):
        deadline = compute_drain_deadline(memory, image.get_digest_record(image.newest, now))
        if deadline is None:
            yield f'the urgency "{urgency}" is neither "now" nor a date, such as 2026-12-01T12:00Z: it is ignored'
        else:
            remaining = f"within {format_age(deadline - now)}" if deadline > now else "at once"
            yield f"the newest is urgent ({urgency}): containers of older ones are asked to drain {remaining}"
    yield from _describe_turn(config, memory, group, key, now)
    yield from _describe_promotion(config, memory, group, now)
    for good in image.known_good:
        yield f"{good.digest} proved good on this host"
    for digest in image.records:
        yield from evidence.describe_evidence(memory, image, digest, now)
    for digest, entry in image.quarantine.items():
        source, age = SOURCE_NAMES[entry.source], format_age(now - entry.since)
        note = "" if entry.confirmed else " (not confirmed: no good digest has lived well here since)"
        yield f"{digest} was quarantined {age} ago by {source}{note}: {entry.reason}"
        yield f"  to lift that: autopilot-watchdog release {digest[:19]}"
    choices = list_slot_choices(memory, group, config, slot, now)
    yield f"the next life takes {choices[0].digest}, {choices[0].reason}" if choices else "no digest may be started"
