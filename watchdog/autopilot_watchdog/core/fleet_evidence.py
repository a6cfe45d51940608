"""Weigh the voices of the fleet's hosts on a digest; core/blame.py has the table of the conclusions.

Theory of operation. Every host that condemns a digest by its own evidence says so in Consul, and so does a host on
which a condemned digest lives well. One host alone never decides for the others: `failures.quorum` hosts must say the
same. A host believes its own evidence first. Where there is no other digest, a condemned one is started all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import evidence, quarantine
from autopilot_watchdog.core.blame import FLEET_TABLE, FleetVerdict, Quorum, Standing
from autopilot_watchdog.core.memory import ImageMemory, Memory, Quarantine
from autopilot_watchdog.core.observation import FleetState, FleetVoices
from autopilot_watchdog.core.slot_actions import Action, ShareGoodLife, ShareQuarantine, WithdrawQuarantine

DEFAULT_QUORUM = 2


def find_fleet_verdict(voices: FleetVoices, quorum: int) -> FleetVerdict:
    """Return the verdict of the fleet's hosts on a digest."""
    condemning, well = (
        Quorum.REACHED if len(hosts) >= quorum else Quorum.MISSED for hosts in (voices.condemning, voices.well)
    )
    return FLEET_TABLE[condemning, well]


def apply_fleet_state(
    memory: Memory, fleet_state: FleetState | None, now: float, quorum: int = DEFAULT_QUORUM
) -> Memory:
    """Return the memory with the fleet's quarantines and urgency; a quarantine lifted there is lifted here."""
    if fleet_state is None:
        return memory
    if fleet_state.urgency != memory.urgency:
        memory = replace(memory, urgency=fleet_state.urgency)
    for key, image in memory.images.items():
        if image.quarantine or fleet_state.quarantine or fleet_state.voices:
            memory = memory.replace_image(key, _apply_voices(memory, image, fleet_state, now, quorum=quorum))
    return memory


def _apply_voices(
    memory: Memory, image: ImageMemory, fleet_state: FleetState, now: float, *, quorum: int
) -> ImageMemory:
    before = image.quarantine
    kept: dict[str, Quarantine] = {}
    for digest, entry in image.quarantine.items():
        voices = fleet_state.voices.get(digest, FleetVoices())
        if entry.source in ("host", "operator", "rates") or (entry.source == "shared" and voices.condemning):
            kept[digest] = entry
    kept |= {
        digest: before.get(digest) or Quarantine(now, reason, "fleet", confirmed=True)
        for digest, reason in fleet_state.quarantine.items()
        if digest in image.records and digest not in kept
    }
    image = replace(image, quarantine=kept)
    for digest, voices in fleet_state.voices.items():
        verdict, record = find_fleet_verdict(voices, quorum), image.records.get(digest)
        if record is None:
            continue
        if verdict is FleetVerdict.ACQUITTED and digest in kept and kept[digest].slot and not record.acquitted:
            image = quarantine.release_digest(image, digest, now)
            image = image.replace_digest_record(digest, replace(image.records[digest], acquitted=True))
        elif verdict is FleetVerdict.CONDEMNED and digest not in kept and not _lives_well(memory, image, digest, now):
            reason = "; ".join(f"{host}: {why}" for host, why in list(voices.condemning.items())[:quorum])
            entry = before.get(digest) or Quarantine(now, reason, "hosts", confirmed=True)
            image = replace(image, quarantine={**image.quarantine, digest: entry})
    return image


def _lives_well(memory: Memory, image: ImageMemory, digest: str, now: float) -> bool:
    return evidence.find_standing(memory, image, digest, "", now) is not Standing.NEW


def plan_voices(config: Config, memory: Memory, fleet_state: FleetState | None, now: float) -> Iterator[Action]:
    """Plan the words of this host to the fleet."""
    if config.consul is None:
        return
    for key, image in memory.images.items():
        for digest, entry in image.quarantine.items():
            if entry.source == "host" and entry.confirmed:
                yield ShareQuarantine(key, digest, entry.reason)
        for digest, voices in (fleet_state.voices if fleet_state else {}).items():
            if digest not in image.records or digest in image.quarantine:
                continue
            if config.host in voices.condemning:
                yield WithdrawQuarantine(key, digest)
            elif (
                voices.condemning
                and config.host not in voices.well
                and len(voices.well) < config.failures.quorum  # more would decide nothing
                and _lives_well(memory, image, digest, now)
            ):
                yield ShareGoodLife(key, digest)
