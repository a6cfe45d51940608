"""Promote a canary's digest: the verb `promote`."""

from __future__ import annotations

import time
from dataclasses import replace

import click

from autopilot_watchdog.cli.order_verbs import apply_image_order, is_named
from autopilot_watchdog.cli.verb_support import EX_USAGE, config_option, fail, get_operator
from autopilot_watchdog.config.canary_slots import build_canary_group, format_canary_image
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import promotion
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import FleetPromotion
from autopilot_watchdog.core.operator_orders import FleetOrderError
from autopilot_watchdog.shell.fleet_store import FleetStore
from autopilot_watchdog.timestamps import format_timestamp


@click.command()
@click.argument("digest", required=False, default="")
@click.option("--reason", default="", help="Reason that `explain` will tell.")
@click.option("--here", is_flag=True, help="On this host only, not for the fleet.")
@click.option("--force", is_flag=True, help="Promote a digest of which no good life is known.")
@click.option("--image", help="Which image, the group's or the canary's, when several groups have a canary.")
@config_option
def promote(  # noqa: PLR0917  # the options of a verb
    config: Config, digest: str, reason: str, here: bool, force: bool, image: str | None
) -> None:
    """Let the canary's digest become the group's, until its own tag moves: DIGEST, or the newest of the canary.

    With Consul it moves the whole fleet. Exit 64: refused, the sentence says why; 75: Consul does not answer.
    """
    groups = _find_groups(config, image)
    full = f"by {get_operator()} on {config.host}{f', {reason}' if reason else ''}"
    for_fleet = config.consul is not None and not here

    def promote_everywhere(memory: Memory) -> tuple[Memory, str]:
        sentence = ""
        for group in groups:
            memory, sentence = promotion.promote_canary(memory, group, digest, full, now=time.time(), force=force)
        if for_fleet:
            return _order_fleet_promotion(config, memory, groups, sentence)
        return memory, f"{sentence}; on this host only{'' if here else ': the configuration has no `consul`'}"

    apply_image_order(config, groups[0].image_key, promote_everywhere)


def _find_groups(config: Config, image: str | None) -> list[SlotGroup]:
    """Return the groups with the canary that the order is about: all of them have the same two images."""
    groups = [group for group in config.slots if group.canary]
    if not groups:
        fail("cannot do that: no group of the configuration has a canary (`slots[].canary`)", EX_USAGE)
    keys = {group.name: (group.image_key, build_canary_group(group).image_key) for group in groups}
    named = [group for group in groups if image is None or any(is_named(image, key) for key in keys[group.name])]
    pairs = {(group.image_key, format_canary_image(group)) for group in named}
    if len(pairs) != 1:
        known = ", ".join(dict.fromkeys(format_canary_image(group) for group in groups))
        raise click.UsageError(f"the canary is not clear; give --image with one of: {known}")
    return named


def _order_fleet_promotion(
    config: Config, memory: Memory, groups: list[SlotGroup], sentence: str
) -> tuple[Memory, str]:
    """Promote for the fleet; FleetOrderError if that fails, so nothing is done here either."""
    known = memory.groups[groups[0].name].promotion
    canary = format_canary_image(groups[0])
    order = FleetPromotion(known.digest, known.over, canary, known.reason, format_timestamp(known.since))
    if error := FleetStore(config).order_promotion(groups[0].image, order):
        raise FleetOrderError(f"cannot promote {known.digest} for the fleet, so not here either: {error}")
    changed = dict(memory.groups)
    for group in groups:
        entry = changed[group.name]
        told = replace(entry.promotion, source="fleet")
        changed[group.name] = replace(entry, promotion=told, fleet_order=promotion.format_order(order))
    return replace(memory, groups=changed), f"{sentence}; the other hosts learn of it in their next pass"
