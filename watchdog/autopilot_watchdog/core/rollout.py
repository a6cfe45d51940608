"""Which digest a host may start now: the pin, else the newest when its ring's turn has come, else a good one.

A host's place in the fleet is hash(host, digest): evenly spread, agreed upon without a word, different for every digest
(so the canaries rotate), and with no lock that could leak.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from autopilot_watchdog.config.model import Config, Ring
from autopilot_watchdog.core.memory import Memory, Trial
from autopilot_watchdog.core.waiting import fraction


@dataclass(frozen=True, slots=True)
class Choice:
    digest: str
    why: str


def turn(host: str, digest: str, rings: Sequence[Ring], spread: float) -> float:
    """Seconds after its push at which this host may take the digest.

    Within a ring the hosts are spread evenly over `spread` seconds, so that no ring begins with a herd.
    """
    place, below = fraction(host, digest), 0.0
    for ring in rings:
        if place < ring.share:
            return ring.after + spread * (place - below) / (ring.share - below)
        below = ring.share
    return rings[-1].after + spread if rings else 0.0


def admitted_at(memory: Memory, key: str, digest: str, config: Config, now: float) -> float:
    """When this host may take the digest. A digest that was good here before, or an urgent one, need not wait."""
    image = memory.image(key)
    trial = image.trial(digest, now)
    if deadline(memory, trial) is not None or not image.goods or any(good.digest == digest for good in image.goods):
        return 0.0
    return trial.first_seen + turn(config.host, digest, config.rollout.rings, config.rollout.spread)


def deadline(memory: Memory, trial: Trial) -> float | None:
    """When everything older should be draining: as the image's label says, else the fleet's key; None: no hurry."""
    urgency = trial.urgency or memory.urgency
    if not urgency:
        return None
    if urgency == "now":
        return trial.first_seen
    try:
        date = datetime.datetime.fromisoformat(urgency)
    except ValueError:
        return None  # a typing error in a label must not drain a farm
    return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()


def choices(memory: Memory, key: str, config: Config, now: float) -> list[Choice]:
    """What may be started, best first. Never a quarantined digest, unless the operator pinned it."""
    image = memory.image(key)
    found: list[Choice] = []
    if image.pin:
        found.append(Choice(image.pin, "pinned by the operator"))
        return found
    if image.head and image.head not in image.quarantine and admitted_at(memory, key, image.head, config, now) <= now:
        found.append(Choice(image.head, "the newest"))
    for good in image.goods:
        if good.digest not in image.quarantine and all(good.digest != choice.digest for choice in found):
            found.append(Choice(good.digest, "the last good one" if good is image.goods[0] else "an older good one"))
    return found
