"""Choose the digests that a host may start: the pinned one, else the newest in its ring's turn, else a good one.

A host's place in the fleet is hash(host, digest): the places are spread evenly, need no messages and no lock, and
differ for each digest, so that the canaries rotate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autopilot_watchdog.config.config_model import Config, Ring
from autopilot_watchdog.config.rollout_windows import find_window_time
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import evidence, suspicions
from autopilot_watchdog.core.fleet_good import list_fleet_choices
from autopilot_watchdog.core.group_history import list_former_good_digests
from autopilot_watchdog.core.memory import DigestRecord, Memory
from autopilot_watchdog.core.retry_delay import hash_to_fraction
from autopilot_watchdog.timestamps import parse_timestamp


@dataclass(frozen=True, slots=True)
class DigestChoice:
    """Digest that may be started, and a phrase that tells the reason."""

    digest: str
    reason: str
    key: str = ""  # of a former image of the group; "" for the present one


def compute_rollout_delay(host: str, digest: str, rings: Sequence[Ring], ring_spread: float) -> float:
    """Compute this host's delay for a digest.

    Args:
        host: The host's name.
        digest: The digest.
        rings: The rings, by rising share.
        ring_spread: Seconds over which the hosts of one ring are spread evenly, so that they do not begin together.

    Returns:
        Seconds between the push and this host's turn.
    """
    place, below = hash_to_fraction(host, digest), 0.0
    for ring in rings:
        if place < ring.share:
            return ring.after + ring_spread * (place - below) / (ring.share - below)
        below = ring.share
    return rings[-1].after + ring_spread if rings else 0.0


def compute_admission_time(memory: Memory, key: str, digest: str, config: Config, now: float) -> float:
    """Return the epoch seconds of this host's turn for a digest; 0.0 for an urgent or known good one."""
    image = memory.get_image(key)
    record = image.get_digest_record(digest, now)
    known_good = {good.digest for good in image.known_good}
    known_good |= {good.digest for _, good in list_former_good_digests(memory, key)}
    if compute_drain_deadline(memory, record) is not None or not known_good or digest in known_good:
        return 0.0
    rollout = config.rollout
    delay_s = max(rollout.min_age, compute_rollout_delay(config.host, digest, rollout.rings, rollout.spread))
    turn = record.first_seen + delay_s
    return find_window_time(rollout.windows, rollout.time_zone, max(turn, now)) if rollout.windows else turn


def compute_drain_deadline(memory: Memory, record: DigestRecord) -> float | None:
    """Return the epoch seconds by which older containers should drain; None if the digest is not urgent.

    The image's label counts, else the fleet's key. A text that is neither "now" nor a date is ignored: a typing error
    must not drain a farm.
    """
    urgency = record.urgency or memory.urgency
    if not urgency:
        return None
    if urgency == "now":
        return record.first_seen
    try:
        return parse_timestamp(urgency)
    except ValueError:
        return None


def list_digest_choices(memory: Memory, key: str, config: Config, now: float, *, group: str = "") -> list[DigestChoice]:
    """Return the digests that may be started, best first; a quarantined one only if the operator pinned it.

    Args:
        memory: The memory.
        key: The image's key.
        config: The configuration.
        now: Epoch seconds.
        group: The name of the group to start them in; "" for any group with this image.
    """
    image = memory.get_image(key)
    if image.pin:
        return [DigestChoice(image.pin, "pinned by the operator")]
    choices: list[DigestChoice] = []
    if (
        image.newest
        and image.newest not in image.quarantine
        and compute_admission_time(memory, key, image.newest, config, now) <= now
    ):
        choices.append(DigestChoice(image.newest, "the newest"))
    for good in image.known_good:
        if good.digest not in image.quarantine and all(good.digest != choice.digest for choice in choices):
            reason = "the last good one" if good is image.known_good[0] else "an older good one"
            choices.append(DigestChoice(good.digest, reason))
    for former, good in list_former_good_digests(memory, key, group):
        if good.digest not in image.quarantine:
            choices.append(DigestChoice(good.digest, f"a good one of the former image {former}", former))
    for digest in list_fleet_choices(image):
        if all(digest != choice.digest for choice in choices):
            choices.append(DigestChoice(digest, "good on other hosts of the fleet"))
    entry = image.quarantine.get(image.newest)
    if not choices and entry is not None and entry.source == "hosts":
        return [DigestChoice(image.newest, "quarantined by other hosts, but the only one there is")]
    return choices


def list_slot_choices(memory: Memory, group: SlotGroup, config: Config, slot: str, now: float) -> list[DigestChoice]:
    """Return the digests that may be started in a slot, best first: for comparison the second best may come first."""
    key = group.image_key
    choices = list_digest_choices(memory, key, config, now, group=group.name)
    if len(choices) < 2:
        return choices
    best, rival, *rest = choices
    comparison = evidence.Comparison(best.digest, slot, rival.digest)
    reason = evidence.explain_avoidance(memory, memory.get_image(key), comparison, config.failures, now)
    if not reason:
        trial = suspicions.find_trial(memory.get_image(key), best.digest, config.suspicion)
        rival = next((choice for choice in choices if trial is not None and choice.digest == trial.rival), rival)
        rest = [choice for choice in choices if choice not in {best, rival}]
        reason = (
            f"for comparison: of {best.digest[:19]} {trial.sentence}" if trial and rival.digest == trial.rival else ""
        )
    return [replace(rival, reason=f"{rival.reason}: {reason}"), best, *rest] if reason else choices
