"""Count the lives that proved a digest good, here and in the fleet, so that rings and promotions can wait for evidence.

Theory of operation. A host counts the lives of a digest that proved good on it and did not fail soon afterwards. With
Consul it tells the fleet its number while somebody waits for it: while the digest is the newest of an image for which a
ring or a promotion needs evidence, and the fleet does not have enough of it, be it lives or hosts. More would decide
nothing. A number that fell is told in any case. When the digest is the newest no more, the host takes its number back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autopilot_watchdog.config.canary_slots import CanaryGroup
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.value_readers import LifeNeeds
from autopilot_watchdog.core.memory import FleetLives, ImageMemory, Memory
from autopilot_watchdog.core.observation import FleetState, FleetVoices
from autopilot_watchdog.core.slot_actions import ShareLives

NO_LIVES = FleetLives()


def change_good_lives(image: ImageMemory, digest: str, by: int, now: float) -> ImageMemory:
    """Return the image with another number of good lives of a digest on this host, 0 at least."""
    record = image.get_digest_record(digest, now)
    return image.replace_digest_record(digest, replace(record, good_lives=max(0, record.good_lives + by)))


def count_own_lives(memory: Memory, digest: str) -> int:
    """Return the good lives of a digest on this host, under every tag."""
    known = {key: image.records[digest].good_lives for key, image in memory.images.items() if digest in image.records}
    settled = {group.canary for group in memory.groups.values() if group.image in known}  # its stable image inherited
    return max((lives for key, lives in known.items() if key not in settled), default=0)


def list_wanted_digests(config: Config, memory: Memory) -> dict[str, tuple[str, LifeNeeds]]:
    """Return the digests for which a ring or a promotion needs evidence, with the image's key and the most evidence."""
    wanted: dict[str, tuple[str, LifeNeeds]] = {}
    for group in config.list_channels(with_followed=True):
        digest = memory.get_image(group.image_key).newest
        needs = [group.canary.promote.needs] if isinstance(group, CanaryGroup) and group.canary else []
        needs += [ring.needs for ring in config.find_rollout(group).rings]  # a canary's lives count for the rings
        for need in needs:
            if digest and need is not None:
                key, most = wanted.get(digest, (group.image_key, need))
                wanted[digest] = key, LifeNeeds(max(most.good, need.good), max(most.hosts, need.hosts))
    return wanted


def follow_fleet_lives(config: Config, memory: Memory, fleet: FleetState | None) -> Memory:
    """Return the memory with the fleet's numbers of good lives of the digests that need evidence."""
    wanted = list_wanted_digests(config, memory)
    if fleet is None:
        kept = {digest: lives for digest, lives in memory.fleet_lives.items() if digest in wanted}
    else:
        kept = {digest: _add_up(fleet, digest) for digest in wanted}
    return memory if kept == memory.fleet_lives else replace(memory, fleet_lives=kept)


def _add_up(fleet: FleetState, digest: str) -> FleetLives:
    counts = fleet.lives.get(digest, {})
    condemning = len(fleet.voices.get(digest, FleetVoices()).condemning)
    return FleetLives(sum(counts.values()), sum(count > 0 for count in counts.values()), condemning)


def find_evidence(config: Config, memory: Memory, digest: str) -> FleetLives:
    """Return the evidence for a digest: the fleet's with Consul, else that of this host."""
    if config.consul is not None:
        return memory.fleet_lives.get(digest, NO_LIVES)
    own = count_own_lives(memory, digest)
    return FleetLives(own, int(own > 0))


def is_enough(lives: FleetLives, needs: LifeNeeds) -> bool:
    """Return True if there is the evidence that is needed."""
    return lives.good >= needs.good and lives.hosts >= needs.hosts


def describe_missing(lives: FleetLives, needs: LifeNeeds) -> str:
    """Return a phrase about the evidence that is needed, and that there is."""
    hosts = f" on {needs.hosts} hosts" if needs.hosts > 1 else ""
    here = f" on {lives.hosts} hosts" if needs.hosts > 1 else ""
    return f"{needs.good} good lives{hosts}, of which the fleet has {lives.good}{here}"


def plan_life_voices(config: Config, memory: Memory, fleet: FleetState | None) -> Iterator[ShareLives]:
    """Plan the words of this host to the fleet about its good lives."""
    if config.consul is None or fleet is None:
        return
    wanted = list_wanted_digests(config, memory)
    for digest, (key, most) in wanted.items():
        counts = fleet.lives.get(digest, {})
        told, own = counts.get(config.host, 0), count_own_lives(memory, digest)
        has_hosts = sum(count > 0 for count in counts.values()) >= most.hosts
        is_needed = sum(counts.values()) < most.good or (not told and not has_hosts)
        if own < told or (own > told and is_needed):
            yield ShareLives(key, digest, own)
    for digest, counts in fleet.lives.items():
        if config.host in counts and digest not in wanted:
            yield ShareLives("", digest, 0)
