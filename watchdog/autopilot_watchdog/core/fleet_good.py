"""Share the digests that are known to be good with the fleet, so that a fresh host has one.

The fleet keeps the last few of each image. A host adds a digest that proved good on it and that the fleet does not
have; it takes one of them only while it knows no good digest of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.blame import FleetVerdict
from autopilot_watchdog.core.fleet_evidence import find_fleet_verdict
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.observation import FleetState, FleetVoices

MAX_FLEET_GOOD = 4  # digests of one image: the newest may be quarantined later


@dataclass(frozen=True, slots=True)
class GoodDigests:
    """Digests of one image that the fleet should know, the latest first."""

    reference: str  # the image in the configuration
    digests: tuple[str, ...]


def apply_fleet_good(config: Config, memory: Memory, fleet: FleetState) -> Memory:
    """Return the memory with the fleet's good digests, without those that the fleet has condemned since."""
    for key, group in {group.image_key: group for group in config.list_channels(with_followed=True)}.items():
        image = memory.get_image(key)
        good = fleet.good.get(group.image, ())[:MAX_FLEET_GOOD]
        known = tuple(digest for digest in good if not _is_condemned(fleet, digest, config.failures.quorum))
        if image.fleet_good != known:
            memory = memory.replace_image(key, replace(image, fleet_good=known))
    return memory


def _is_condemned(fleet: FleetState, digest: str, quorum: int) -> bool:
    voices = fleet.voices.get(digest, FleetVoices())
    return digest in fleet.quarantine or find_fleet_verdict(voices, quorum) is FleetVerdict.CONDEMNED


def list_good_to_share(config: Config, memory: Memory, fleet: FleetState | None) -> Iterator[GoodDigests]:
    """Yield the lists that the fleet should have instead of its present ones.

    Args:
        config: The configuration.
        memory: The memory of this host.
        fleet: The fleet's state; None if it is unknown, so nothing is shared.
    """
    if fleet is None:
        return
    for key, group in {group.image_key: group for group in config.list_channels(with_followed=True)}.items():
        image, known = memory.get_image(key), fleet.good.get(group.image, ())
        own = image.last_good
        if own and own not in known and own not in image.quarantine and own not in fleet.quarantine:
            yield GoodDigests(group.image, (own, *known)[:MAX_FLEET_GOOD])


def list_fleet_choices(image: ImageMemory) -> list[str]:
    """Return the fleet's good digests that this host may start: none if it knows a good one itself."""
    if any(good.digest not in image.quarantine for good in image.known_good):
        return []
    return [digest for digest in image.fleet_good if digest not in image.quarantine]
