"""Choose the canary slots of a group: a pure rule that every host computes for itself, without messages.

A slot is a canary slot of `share` if hash(host, slot) is below the share. The hash does not depend on the digest, so a
slot stays in its channel from push to push, and a greater share only adds slots. `slots` takes the first slots of the
group on every host. `hosts` takes all slots of the group on the named hosts.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, fields

from autopilot_watchdog.config.canary_config import CanaryConfig
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.even_hash import hash_to_fraction

STABLE, CANARY = "stable", "canary"  # channels of a group


@dataclass(frozen=True, slots=True)
class CanaryGroup(SlotGroup):
    """Group as its canary slots see it: the image is the canary's."""

    stable_image: str = ""  # the image of the other slots, and the way back

    @property
    def stable_key(self) -> str:
        """Key of the group's own image in the memory."""
        return f"{self.engine} {self.stable_image}"


def format_canary_image(group: SlotGroup) -> str:
    """Return the reference of the canary's image; "" for a group without a canary."""
    if group.canary is None:
        return ""
    image = group.canary.image
    return f"{group.image.rpartition(':')[0]}{image}" if image.startswith(":") else image


def build_canary_group(group: SlotGroup) -> CanaryGroup:
    """Return the group as its canary slots see it; it must have a canary."""
    if isinstance(group, CanaryGroup):
        return group
    values = {field.name: getattr(group, field.name) for field in fields(SlotGroup)}
    return CanaryGroup(**{**values, "image": format_canary_image(group)}, stable_image=group.image)


def is_canary_slot(canary: CanaryConfig, host: str, slot: str, number: int) -> bool:
    """Return True if a slot takes the canary's image.

    Args:
        canary: The canary of the slot's group.
        host: The host's name.
        slot: The slot's name.
        number: The slot's number in its group, from 1.
    """
    if canary.share:
        return hash_to_fraction("canary", host, slot) < canary.share
    return number <= canary.slots or any(fnmatch.fnmatchcase(host, pattern) for pattern in canary.hosts)


def describe_rule(canary: CanaryConfig) -> str:
    """Return a phrase that tells which slots are canary slots."""
    if canary.share:
        return f"{100 * canary.share:g}% of the fleet's slots, by hash(host, slot)"
    if canary.slots:
        return "the first slot of every host" if canary.slots == 1 else f"the first {canary.slots} slots of every host"
    return f"all slots of the hosts {', '.join(canary.hosts)}"


def describe_promotion(canary: CanaryConfig) -> str:
    """Return a phrase that tells the rule of the promotion."""
    rule = canary.promote
    if rule.is_manual:
        return "promoted by the verb `promote`"
    parts = [f"{rule.after / 3600:g} h"] if rule.after else []
    if rule.needs:
        hosts = f" on {rule.needs.hosts} hosts" if rule.needs.hosts > 1 else ""
        parts.append(f"{rule.needs.good} good lives{hosts}")
    return f"promoted after {' and '.join(parts)}"
