"""Which digest a host may start now: the pin, else the newest when its ring's turn has come, else a good one.

A host's place in the fleet is hash(host, digest): evenly spread, agreed upon without a word, different for every digest
(so the canaries rotate), and with no lock that could leak.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from autopilot_watchdog.config.config_model import Config, Ring
from autopilot_watchdog.core.memory import DigestRecord, Memory
from autopilot_watchdog.core.retry_delay import hash_to_fraction


@dataclass(frozen=True, slots=True)
class DigestChoice:
    digest: str
    reason: str


def compute_rollout_delay(host: str, digest: str, rings: Sequence[Ring], ring_spread: float) -> float:
    """Seconds after its push at which this host may take the digest.

    Within a ring the hosts are spread evenly over `spread` seconds, so that no ring begins with a herd.
    """
    place, below = hash_to_fraction(host, digest), 0.0
    for ring in rings:
        if place < ring.share:
            return ring.after + ring_spread * (place - below) / (ring.share - below)
        below = ring.share
    return rings[-1].after + ring_spread if rings else 0.0


def compute_admission_time(memory: Memory, key: str, digest: str, config: Config, now: float) -> float:
    """When this host may take the digest. A digest that was good here before, or an urgent one, need not wait."""
    image = memory.get_image(key)
    trial = image.get_digest_record(digest, now)
    if (
        compute_drain_deadline(memory, trial) is not None
        or not image.goods
        or any(good.digest == digest for good in image.goods)
    ):
        return 0.0
    return trial.first_seen + compute_rollout_delay(config.host, digest, config.rollout.rings, config.rollout.spread)


def compute_drain_deadline(memory: Memory, record: DigestRecord) -> float | None:
    """When everything older should be draining: as the image's label says, else the fleet's key; None: no hurry."""
    urgency = record.urgency or memory.urgency
    if not urgency:
        return None
    if urgency == "now":
        return record.first_seen
    try:
        date = datetime.datetime.fromisoformat(urgency)
    except ValueError:
        return None  # a typing error in a label must not drain a farm
    return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()


def list_digest_choices(memory: Memory, key: str, config: Config, now: float) -> list[DigestChoice]:
    """What may be started, best first. Never a quarantined digest, unless the operator pinned it."""
    image = memory.get_image(key)
    found: list[DigestChoice] = []
    if image.pin:
        found.append(DigestChoice(image.pin, "pinned by the operator"))
        return found
    if (
        image.head
        and image.head not in image.quarantine
        and compute_admission_time(memory, key, image.head, config, now) <= now
    ):
        found.append(DigestChoice(image.head, "the newest"))
    for good in image.goods:
        if good.digest not in image.quarantine and all(good.digest != choice.digest for choice in found):
            found.append(
                DigestChoice(good.digest, "the last good one" if good is image.goods[0] else "an older good one")
            )
    return found
