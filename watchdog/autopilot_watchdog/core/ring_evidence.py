"""Open the rings of a rollout by time and by evidence: lives of earlier rings that proved good.

Theory of operation. A ring without `needs` opens `after` seconds after the push. A ring with `needs` opens when the
fleet has so many good lives of the digest, and not before `after`. It closes again if lives fail that had proved good.
If the evidence does not come, the ring opens at `at_latest`, unless a host of the fleet condemns the digest; without
that key it stays closed. A host remembers the moment at which it saw its ring open, so that the hosts of a ring begin
evenly over `spread`, as they do with time alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from autopilot_watchdog.config.config_model import Config, Ring, RolloutConfig
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import good_lives
from autopilot_watchdog.core.memory import GroupMemory, Memory
from autopilot_watchdog.even_hash import hash_to_fraction

NEVER = math.inf


def find_ring(host: str, digest: str, rings: Sequence[Ring]) -> tuple[Ring, float]:
    """Return a host's ring for a digest, and the host's place in it, from 0 to 1."""
    place, below = hash_to_fraction(host, digest), 0.0
    for ring in rings:
        if place < ring.share:
            return ring, (place - below) / (ring.share - below)
        below = ring.share
    return (rings[-1] if rings else Ring(1.0, 0.0)), 1.0


def open_rings(config: Config, memory: Memory, now: float) -> Memory:
    """Return the memory with the moments at which the rings of this host for the newest digests were opened."""
    for group in config.slots:
        rings, known = config.find_rollout(group).rings, memory.groups.get(group.name)
        digest = memory.get_image(group.image_key).newest
        if known is None:
            continue
        opened = {other: at for other, at in known.opened.items() if other == digest}
        needs = find_ring(config.host, digest, rings)[0].needs if digest else None
        if needs is not None and good_lives.is_enough(good_lives.find_evidence(config, memory, digest), needs):
            opened.setdefault(digest, now)
        else:
            opened = {}
        if opened != known.opened:
            memory = replace(memory, groups={**memory.groups, group.name: replace(known, opened=opened)})
    return memory


def compute_ring_turn(memory: Memory, group: SlotGroup, digest: str, *, host: str, rollout: RolloutConfig) -> float:
    """Return the epoch seconds at which a host's ring lets it take a digest of a group's image; NEVER while it waits.

    Args:
        memory: The memory.
        group: The group of slots.
        digest: The digest.
        host: The host's name.
        rollout: The group's rollout.
    """
    ring, place = find_ring(host, digest, rollout.rings)
    first_seen, offset_s = memory.get_image(group.image_key).records[digest].first_seen, rollout.spread * place
    if ring.needs is None:
        return first_seen + ring.after + offset_s
    opened = memory.groups.get(group.name, GroupMemory()).opened.get(digest)
    if opened is not None:
        return max(opened, first_seen + ring.after) + offset_s
    condemned = memory.fleet_lives.get(digest, good_lives.NO_LIVES).condemning
    return NEVER if ring.at_latest is None or condemned else first_seen + ring.at_latest + offset_s


def describe_ring_wait(config: Config, memory: Memory, group: SlotGroup, digest: str) -> str:
    """Return a phrase about the evidence that this host's ring waits for; "" if it waits for none."""
    needs = find_ring(config.host, digest, config.find_rollout(group).rings)[0].needs
    if needs is None:
        return ""
    evidence = good_lives.find_evidence(config, memory, digest)
    return "" if good_lives.is_enough(evidence, needs) else good_lives.describe_missing(evidence, needs)
