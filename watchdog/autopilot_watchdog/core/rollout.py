"""Choose the digests that a host may start: the pinned one, else the newest in its ring's turn, else a good one.

A host's place in the fleet is hash(host, digest): the places are spread evenly, need no messages and no lock, and
differ for each digest, so that the canaries rotate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autopilot_watchdog.config.canary_slots import CanaryGroup
from autopilot_watchdog.config.config_model import Config, Ring, RolloutConfig
from autopilot_watchdog.config.rollout_windows import find_window_time
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import canary_state, evidence, ring_evidence, suspicions
from autopilot_watchdog.core.drain_deadline import compute_drain_deadline
from autopilot_watchdog.core.fleet_good import list_fleet_choices
from autopilot_watchdog.core.group_history import list_former_good_digests
from autopilot_watchdog.core.memory import GroupMemory, Memory
from autopilot_watchdog.even_hash import hash_to_fraction


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
    if not rings:
        return 0.0
    ring, place = ring_evidence.find_ring(host, digest, rings)
    return ring.after + ring_spread * place


def compute_admission_time(
    memory: Memory, key: str, digest: str, config: Config, now: float, *, group: str = ""
) -> float:
    """Return the epoch seconds of this host's turn for a digest; 0.0 for an urgent or known good one.

    Args:
        memory: The memory.
        key: The image's key.
        digest: The digest.
        config: The configuration.
        now: Epoch seconds.
        group: The name of the group whose turn it is; "" for the first group with this image.
    """
    image, user = memory.get_image(key), config.find_group(key, group)
    record = image.get_digest_record(digest, now)
    known_good = {good.digest for good in image.known_good}
    if not isinstance(user, CanaryGroup):
        known_good |= {good.digest for _, good in list_former_good_digests(memory, key)}
    if compute_drain_deadline(memory, record) is not None or digest in known_good:
        return 0.0
    rollout = config.find_rollout(user)
    if isinstance(user, CanaryGroup):  # the share of the canary slots is their ring
        delay_s = rollout.spread * hash_to_fraction(config.host, digest)
    elif not known_good:
        return 0.0
    elif digest in image.records:
        turn = ring_evidence.compute_ring_turn(memory, user, digest, host=config.host, rollout=rollout)
        ring_turn = _delay_turn(rollout, record.first_seen, turn, now)
        known = memory.groups.get(user.name, GroupMemory())
        if known.promotion.digest != digest:
            return ring_turn
        return min(ring_turn, _compute_promoted_turn(memory, user, known, config, now))
    else:
        delay_s = compute_rollout_delay(config.host, digest, rollout.rings, rollout.spread)
    return _delay_turn(rollout, record.first_seen, record.first_seen + delay_s, now)


def compute_promotion_time(memory: Memory, group: SlotGroup, config: Config, now: float) -> float | None:
    """Return the epoch seconds of this host's turn for the digest that was promoted; None without one."""
    promotion = canary_state.find_promotion(memory, group.name)
    if promotion is None:
        return None
    image = memory.get_image(promotion.canary)
    record = image.get_digest_record(promotion.digest, promotion.since)
    is_good = any(good.digest == promotion.digest for good in image.known_good)
    if is_good or compute_drain_deadline(memory, record) is not None:
        return 0.0
    return _compute_promoted_turn(memory, group, memory.groups[group.name], config, now)


def _compute_promoted_turn(memory: Memory, group: SlotGroup, known: GroupMemory, config: Config, now: float) -> float:
    """Return the epoch seconds of this host's turn for the promoted digest, also when the group's tag has it since."""
    promotion, rollout = known.promotion, config.find_rollout(group)
    record = memory.get_image(promotion.canary).get_digest_record(promotion.digest, promotion.since)
    if promotion.source == "time":  # nobody says that it is good: the rings begin at the promotion
        delay_s = compute_rollout_delay(config.host, promotion.digest, rollout.rings, rollout.spread)
    else:
        delay_s = rollout.spread * hash_to_fraction(config.host, promotion.digest)
    return _delay_turn(rollout, record.first_seen, promotion.since + delay_s, now)


def _delay_turn(rollout: RolloutConfig, first_seen: float, turn: float, now: float) -> float:
    """Return the turn that `min_age` and the windows leave, in epoch seconds."""
    turn = max(turn, first_seen + rollout.min_age)
    if turn == ring_evidence.NEVER:
        return turn
    return find_window_time(rollout.windows, rollout.time_zone, max(turn, now)) if rollout.windows else turn


def list_turns(memory: Memory, group: SlotGroup, config: Config, now: float) -> list[float]:
    """Return the epoch seconds of this host's turns for the newest digest of a group's image and the promoted one."""
    image, turns = memory.get_image(group.image_key), [compute_promotion_time(memory, group, config, now)]
    if image.newest and image.newest not in image.quarantine:
        turns.append(compute_admission_time(memory, group.image_key, image.newest, config, now, group=group.name))
    return [turn for turn in turns if turn is not None and turn != ring_evidence.NEVER]


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
    choices = _list_promoted_choices(memory, config.find_group(key, group), config, now)
    if (
        image.newest
        and image.newest not in image.quarantine
        and compute_admission_time(memory, key, image.newest, config, now, group=group) <= now
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


def _list_promoted_choices(memory: Memory, group: SlotGroup, config: Config, now: float) -> list[DigestChoice]:
    """Return the digest that was promoted to the group's own, if it is this host's turn."""
    turn = compute_promotion_time(memory, group, config, now)
    if turn is None or turn > now:
        return []
    promotion = memory.groups[group.name].promotion
    return [DigestChoice(promotion.digest, f"promoted from the canary: {promotion.reason}", promotion.canary)]


def list_group_choices(memory: Memory, group: SlotGroup, config: Config, now: float) -> list[DigestChoice]:
    """Return the digests that may be started in the slots of a group, or in its canary slots, best first."""
    if not isinstance(group, CanaryGroup):
        return list_digest_choices(memory, group.image_key, config, now, group=group.name)
    image = memory.get_image(group.image_key)
    if image.pin:
        return [DigestChoice(image.pin, "pinned by the operator")]
    stable = [
        replace(choice, key=choice.key or group.stable_key)
        for choice in list_digest_choices(memory, group.stable_key, config, now, group=group.name)
    ]
    known = memory.get_image(group.stable_key).records
    good = [one.digest for one in image.known_good if one.digest not in {*image.quarantine, *known}]
    last_resort = [DigestChoice(digest, "a good one of the canary") for digest in good]
    if canary_state.explain_end(memory, group):
        return _drop_repeated([*stable, *last_resort])
    if compute_admission_time(memory, group.image_key, image.newest, config, now, group=group.name) <= now:
        best = [DigestChoice(image.newest, "the newest of the canary")]
    else:
        best = [DigestChoice(digest, "the canary's last good one") for digest in good[:1]]
    return _drop_repeated([*best, *stable, *last_resort])


def _drop_repeated(choices: list[DigestChoice]) -> list[DigestChoice]:
    """Return the choices without further ones of the same digest."""
    first: dict[str, DigestChoice] = {}
    for choice in choices:
        first.setdefault(choice.digest, choice)
    return list(first.values())


def list_slot_choices(memory: Memory, group: SlotGroup, config: Config, slot: str, now: float) -> list[DigestChoice]:
    """Return the digests that may be started in a slot, best first: for comparison the second best may come first."""
    choices = list_group_choices(memory, group, config, now)
    if len(choices) < 2:
        return choices
    best, rival, *rest = choices
    comparison, image = evidence.Comparison(best.digest, slot, rival.digest), best.key or group.image_key
    reason = evidence.explain_avoidance(memory, memory.get_image(image), comparison, config.failures, now)
    if not reason:
        trial = suspicions.find_trial(memory.get_image(image), best.digest, config.suspicion)
        rival = next((choice for choice in choices if trial is not None and choice.digest == trial.rival), rival)
        rest = [choice for choice in choices if choice not in {best, rival}]
        reason = (
            f"for comparison: of {best.digest[:19]} {trial.sentence}" if trial and rival.digest == trial.rival else ""
        )
    return [replace(rival, reason=f"{rival.reason}: {reason}"), best, *rest] if reason else choices
