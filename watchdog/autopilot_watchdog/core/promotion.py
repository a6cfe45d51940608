"""Promote a canary's digest to the digest of its group: by an operator's order, the fleet's, or the group's rule.

Theory of operation. A promotion names the canary's digest and the digest that the group's own tag has at that moment.
It is in force until the tag gets another digest: the next push ends it. Hosts on which the digest proved good take it
at once. The others take it evenly over `spread`, if an operator or evidence promoted it; if only time has passed, their
rings begin at the promotion. An order for the fleet is in Consul, and each host follows it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autopilot_watchdog.config.canary_slots import format_canary_image
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import canary_state, good_lives, suspicions
from autopilot_watchdog.core.memory import GroupMemory, Memory, Promotion
from autopilot_watchdog.core.observation import FleetPromotion, FleetState
from autopilot_watchdog.core.operator_orders import OrderError, resolve_digest
from autopilot_watchdog.timestamps import format_age


def promote_canary(
    memory: Memory, group: SlotGroup, digest_prefix: str, reason: str, *, now: float, force: bool = False
) -> tuple[Memory, str]:
    """Let a canary's digest become the group's, on this host.

    Args:
        memory: The memory before.
        group: The group, which has a canary.
        digest_prefix: The digest, or its beginning; "" for the canary's newest.
        reason: The operator, and the reason.
        now: Epoch seconds.
        force: True to allow a digest of which no good life is known.

    Raises:
        OrderError: There is nothing to promote, or it may not be started.
    """
    known = memory.groups.get(group.name, GroupMemory())
    name = format_canary_image(group)
    if not known.canary:
        raise OrderError(f"cannot promote {name}: no pass has seen it yet; `run` makes one")
    canary, stable = memory.get_image(known.canary), memory.get_image(known.image)
    digest = resolve_digest(canary, digest_prefix) if digest_prefix else canary.newest
    if not digest:
        remedy = "give the order on a host with a canary slot, or give the whole sha256:..."
        raise OrderError(f"cannot promote {name}: this host does not know its digest; {remedy}")
    if not stable.newest:
        raise OrderError(f"cannot promote {digest}: the digest of {group.image} is not known yet; `run` asks for it")
    if stable.pin:
        raise OrderError(f"cannot promote {digest}: {group.image} is pinned to {stable.pin}; `unpin` first")
    if digest == stable.newest:
        raise OrderError(f"cannot promote {digest}: {group.image} has it already")
    for image in (stable, canary):
        if entry := image.quarantine.get(digest):
            raise OrderError(f"cannot promote {digest}: it is quarantined ({entry.reason}); `release` it first")
    promotion = canary_state.find_promotion(memory, group.name)
    if promotion is not None and promotion.digest == digest and promotion.source == "fleet":
        raise OrderError(f"cannot promote {digest}: it is promoted already, for the fleet: {promotion.reason}")
    if not force and not _is_known_good(memory, known, digest):
        raise OrderError(
            f"cannot promote {digest}: no life of it has proved good on this host or, as far as this host knows, on "
            "another one; --force promotes it all the same"
        )
    memory = _know_digest(memory, known.canary, digest, now)
    promoted = Promotion(digest, stable.newest, now, reason, canary=known.canary)
    groups = {**memory.groups, group.name: replace(known, promotion=promoted)}
    sentence = f"{digest} of {name} is promoted: the next lives of {group.image} take it, until its tag moves"
    return replace(memory, groups=groups), sentence


def _is_known_good(memory: Memory, group: GroupMemory, digest: str) -> bool:
    images = [memory.get_image(group.canary), memory.get_image(group.image)]
    known = {good.digest for image in images for good in image.known_good}
    return digest in known or any(digest in image.fleet_good for image in images)


def _know_digest(memory: Memory, key: str, digest: str, now: float) -> Memory:
    """Return the memory with a record of the promoted digest, so that the fleet's quarantine of it counts here."""
    canary = memory.get_image(key)
    return memory.replace_image(key, canary.replace_digest_record(digest, canary.get_digest_record(digest, now)))


def follow_fleet_promotions(config: Config, memory: Memory, fleet: FleetState | None, now: float) -> Memory:
    """Return the memory with the fleet's promotions; one that was taken back there ends here."""
    if fleet is None:
        return memory
    for group in config.slots:
        known = memory.groups.get(group.name)
        order = fleet.promotions.get(group.image, FleetPromotion())
        if known is None or format_order(order) == known.fleet_order:  # also if its canary was taken out since
            continue
        if order.canary != format_canary_image(group):
            order = FleetPromotion()
        mark = format_order(order)
        if mark == known.fleet_order:
            continue
        promotion = known.promotion
        if order.digest:
            promotion = Promotion(order.digest, order.over, now, order.reason, "fleet", known.canary)
        elif promotion.source == "fleet":
            promotion = Promotion()
        if order.digest:
            memory = _know_digest(memory, known.canary, order.digest, now)
        changed = replace(known, promotion=promotion, fleet_order=mark)
        memory = replace(memory, groups={**memory.groups, group.name: changed})
    return memory


def format_order(order: FleetPromotion) -> str:
    """Return the text that tells an order of the fleet from every other one; "" for none."""
    return f"{order.digest} {order.over} {order.given}" if order.digest else ""


def apply_promotion_rules(config: Config, memory: Memory, now: float) -> Memory:
    """Return the memory with the digests promoted that satisfy the rules of their groups."""
    for group in config.slots:
        if group.canary is None or group.canary.promote.is_manual:
            continue
        known, rule = memory.groups.get(group.name, GroupMemory()), group.canary.promote
        canary, stable = memory.get_image(known.canary), memory.get_image(known.image)
        digest = canary.newest
        settled = {"", stable.newest, known.settled, known.promotion.digest, *stable.records, *canary.quarantine}
        if digest in settled or not stable.newest or next(list_promotion_waits(config, memory, group, now), ""):
            continue
        reasons = [f"{format_age(rule.after)} after its push"] if rule.after else []
        if rule.needs:
            reasons.append(f"{good_lives.find_evidence(config, memory, digest).good} good lives")
        source = "evidence" if rule.needs else "time"
        promotion = Promotion(digest, stable.newest, now, " and ".join(reasons), source, known.canary)
        memory = replace(memory, groups={**memory.groups, group.name: replace(known, promotion=promotion)})
    return memory


def list_promotion_waits(config: Config, memory: Memory, group: SlotGroup, now: float) -> Iterator[str]:
    """Yield phrases about all that the rule of a group still waits for."""
    canary = memory.get_image(memory.groups.get(group.name, GroupMemory()).canary)
    if group.canary is None or canary.newest not in canary.records:
        return
    rule = group.canary.promote
    if canary_state.is_older(canary, memory.get_image(group.image_key)):  # such as a fix that the canary does not have
        yield f"a push to the canary's tag after that of {group.image}"
    due = compute_rule_time(memory, group)
    if due is not None and due > now:
        yield f"{format_age(due - now)} more"
    if rule.needs:
        evidence = good_lives.find_evidence(config, memory, canary.newest)
        if not good_lives.is_enough(evidence, rule.needs):
            yield good_lives.describe_missing(evidence, rule.needs)
    if suspicions.find_trial(canary, canary.newest, config.suspicion) is not None:
        yield "its comparison with the digest before it"


def compute_rule_time(memory: Memory, group: SlotGroup) -> float | None:
    """Return the epoch seconds before which the rule of a group promotes nothing; None if time does not matter."""
    canary = memory.get_image(memory.groups.get(group.name, GroupMemory()).canary)
    record = canary.records.get(canary.newest)
    if group.canary is None or not group.canary.promote.after or record is None:
        return None
    return record.first_seen + group.canary.promote.after
