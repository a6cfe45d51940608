"""Tell the channel of a slot: the group's own image, or its canary's, and the reason, for people and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_watchdog.config.canary_slots import CANARY, STABLE, CanaryGroup, describe_rule
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import canary_state
from autopilot_watchdog.core.memory import Memory


@dataclass(frozen=True, slots=True)
class SlotChannel:
    """Channel of a slot at this moment."""

    name: str  # "stable" or "canary"
    image: str  # reference of the image that its next life takes if nothing is wrong with it
    reason: str  # sentence; "" for the slot of a group without a canary


def find_channel(memory: Memory, group: SlotGroup) -> SlotChannel:
    """Return the channel of a slot.

    Args:
        memory: The memory.
        group: The slot's group, as the configuration maps it: a CanaryGroup for a canary slot.
    """
    if isinstance(group, CanaryGroup):
        assert group.canary is not None
        rule = f"a canary slot ({describe_rule(group.canary)})"
        end = canary_state.explain_end(memory, group)
        if not end:
            return SlotChannel(CANARY, group.image, f"{rule}: it takes {group.image}")
        return SlotChannel(STABLE, group.stable_image, f"{rule}, which takes {group.stable_image} now: {end}")
    promotion = canary_state.find_promotion(memory, group.name)
    if promotion is not None:
        sentence = f"{promotion.digest[:19]} was promoted from the canary: {promotion.reason}"
        return SlotChannel(STABLE, group.image, sentence)
    return SlotChannel(STABLE, group.image, "")
