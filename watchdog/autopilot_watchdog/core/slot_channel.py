"""Tell the channel of a slot: the group's own image, or its canary's, and the reason, for people and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_watchdog.bounded_json import clip_text
from autopilot_watchdog.config.canary_slots import CANARY, STABLE, CanaryGroup, describe_rule
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import canary_state
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.display_text import show_controls

MAX_REASON_CHARS = 120  # Consul takes 512 bytes of metadata, and a character has up to four
_NO_PLACEHOLDERS = str.maketrans("{}", "()")  # the texts of a group's environment have placeholders


@dataclass(frozen=True, slots=True)
class SlotChannel:
    """Channel of a slot at this moment."""

    name: str  # "stable" or "canary": of the living container, else of the next one
    image: str  # reference of that channel's image
    reason: str  # sentence; "" for the slot of a group without a canary


def find_channel(memory: Memory, group: SlotGroup, digest: str = "") -> SlotChannel:
    """Return the channel of a slot.

    Args:
        memory: The memory.
        group: The slot's group, as the configuration maps it: a CanaryGroup for a canary slot.
        digest: The digest of the slot's living container; "" for an empty slot.
    """
    if isinstance(group, CanaryGroup):
        assert group.canary is not None
        end = canary_state.explain_end(memory, group)
        takes_canary = not end
        runs_canary = _is_canarys(memory, group, digest) if digest else takes_canary
        rule, change = f"a canary slot ({describe_rule(group.canary)})", runs_canary != takes_canary
        if takes_canary:
            sentence = f"{rule}: {'its next life' if change else 'it'} takes {group.image}"
        else:
            sentence = f"{rule}, {'whose next life' if change else 'which'} follows {group.stable_image} now: {end}"
        return SlotChannel(*((CANARY, group.image) if runs_canary else (STABLE, group.stable_image)), sentence)
    promotion = canary_state.find_promotion(memory, group.name)
    if promotion is not None:
        sentence = f"{promotion.digest[:19]} was promoted from the canary: {promotion.reason}"
        return SlotChannel(STABLE, group.image, sentence)
    return SlotChannel(STABLE, group.image, "")


def _is_canarys(memory: Memory, group: CanaryGroup, digest: str) -> bool:
    """Return True if a digest is the canary's alone: the stable image never had it, and nobody promoted it."""
    promotion = canary_state.find_promotion(memory, group.name)
    if digest in memory.get_image(group.stable_key).records or (promotion and promotion.digest == digest):
        return False
    return digest in memory.get_image(group.image_key).records


def build_channel_env(group: SlotGroup, key: str, reason: str) -> dict[str, str]:
    """Return the environment by which a container's supervisor tells the fleet its channel, and the reason.

    Args:
        group: The slot's group, as the configuration maps it: a CanaryGroup for a canary slot.
        key: Key of the image that the digest is of, if it is not the group's; "" for the group's.
        reason: Phrase that tells the reason for the digest.
    """
    env = {"AUTOPILOT_IMAGE_REASON": clip_text(show_controls(reason).translate(_NO_PLACEHOLDERS), MAX_REASON_CHARS)}
    if group.canary is None:
        return env
    is_canary = isinstance(group, CanaryGroup) and key in {"", group.image_key}
    return {**env, "AUTOPILOT_CHANNEL": CANARY if is_canary else STABLE}
