"""Follow the canaries of groups: tell whether one is under way, and let the group's own image inherit its judgement.

Theory of operation. A canary slot takes the newest digest of the canary's tag at once. Everything that is learned about
it there is kept in the memory of the canary's image; the group's own image, the stable one, is its way back, as a
former image is. A canary is over as soon as its digest is the group's own: the tag has it, or it was promoted. From the
moment on at which the stable tag has the digest, the stable image has its whole record: its good lives, its quarantine,
its findings. So it neither waits again nor is started again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autopilot_watchdog.config.canary_slots import CanaryGroup
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import group_history
from autopilot_watchdog.core.drain_deadline import compute_drain_deadline
from autopilot_watchdog.core.memory import GroupMemory, ImageMemory, Memory, Promotion, split_image_key
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.preparation_waits import forget_failures

MAX_KNOWN_GOOD = 3  # of one image


def settle_canaries(before: Memory, memory: Memory) -> Memory:
    """Return the memory after answers of registries: a stable tag's new digest has the record that it has as a canary.

    Args:
        before: The memory before the answers.
        memory: The memory with them.
    """
    memory = _end_promotions(before, memory)
    for name, group in memory.groups.items():
        known = before.get_image(group.image).records
        for digest in memory.get_image(group.image).records.keys() - known.keys():
            for canary in [memory.get_image(key) for key in group.canaries]:
                if digest in canary.records:
                    stable = _inherit_judgement(memory.get_image(group.image), canary, digest)
                    memory = memory.replace_image(group.image, stable)
                    break
        canary = memory.get_image(group.canary)
        if canary.newest and canary.newest != group.settled and canary.newest in memory.get_image(group.image).records:
            groups = {**memory.groups, name: replace(group, settled=canary.newest)}
            memory = replace(memory, groups=groups)
    return memory


def _end_promotions(before: Memory, memory: Memory) -> Memory:
    """Return the memory in which promotions of groups are over for good if their own tags have moved."""
    for name, group in memory.groups.items():
        over, newest = group.promotion.over, memory.get_image(group.image).newest
        if over and before.get_image(group.image).newest == over != newest:
            ended = replace(group, promotion=replace(group.promotion, over=""))
            memory = replace(memory, groups={**memory.groups, name: ended})
    return memory


def _inherit_judgement(stable: ImageMemory, canary: ImageMemory, digest: str) -> ImageMemory:
    """Return the stable image with all that is known of a digest as a canary, except the time of its push."""
    record = replace(forget_failures(canary.records[digest]), first_seen=stable.records[digest].first_seen)
    stable = stable.replace_digest_record(digest, record)
    if digest in canary.quarantine:
        return replace(stable, quarantine={**stable.quarantine, digest: canary.quarantine[digest]})
    known_good = {good.digest: good for good in (*stable.known_good, *canary.known_good) if good.digest == digest}
    others = [good for good in stable.known_good if good.digest != digest]
    latest = sorted([*others, *known_good.values()], key=lambda good: -good.life_started)
    return replace(stable, known_good=tuple(latest[:MAX_KNOWN_GOOD]))


def settle_container(memory: Memory, group: SlotGroup | None, container: Container) -> Container:
    """Return the container as one of the stable image, if it was started as a canary and that image has its digest.

    Args:
        memory: The memory.
        group: The group of its slot; None for a slot of no group.
        container: The container.
    """
    known = memory.groups.get(group.name) if group else None
    if known is None or container.image_key not in known.canaries:
        return container
    if container.digest not in memory.get_image(known.image).records:
        return container
    return replace(container, image=split_image_key(known.image)[1])


def find_promotion(memory: Memory, name: str, *, with_pinned: bool = False) -> Promotion | None:
    """Return the promotion that is in force in a group; None if there is none.

    The next push to the group's own tag ends it, and so does a quarantine of the digest. A pin goes before it.

    Args:
        memory: The memory.
        name: The group's name.
        with_pinned: True to return it also while the group's image is pinned.
    """
    group = memory.groups.get(name, GroupMemory())
    promotion, stable = group.promotion, memory.get_image(group.image)
    if not promotion.over or promotion.over != stable.newest or (stable.pin and not with_pinned):
        return None
    if promotion.digest in {stable.newest, *stable.quarantine, *memory.get_image(promotion.canary).quarantine}:
        return None
    return promotion


def find_promoted_digest(memory: Memory, key: str) -> tuple[str, str] | None:
    """Return the canary's key and the digest that are promoted to a stable image in some group; None for none."""
    for name, group in memory.groups.items():
        promotion = find_promotion(memory, name) if group.image == key else None
        if promotion is not None:
            return promotion.canary, promotion.digest
    return None


def find_promotion_taken_back(memory: Memory, key: str) -> tuple[str, str] | None:
    """Return the key of the image and its digest whose promotion to a stable image was rolled back; None for none."""
    for group in memory.groups.values():
        promotion = group.promotion
        if group.image != key or not promotion.over or promotion.over != memory.get_image(key).newest:
            continue
        for known_to in (promotion.canary, group.image):
            entry = memory.get_image(known_to).quarantine.get(promotion.digest)
            if entry is not None and entry.source in ("operator", "fleet"):
                return known_to, promotion.digest
    return None


def explain_end(memory: Memory, group: CanaryGroup) -> str:
    """Return the reason for which canary slots take the digests of the other slots; "" while a canary is under way."""
    return "" if memory.get_image(group.image_key).pin else next(_list_ends(memory, group), "")


def _list_ends(memory: Memory, group: CanaryGroup) -> Iterator[str]:
    canary, stable = memory.get_image(group.image_key), memory.get_image(group.stable_key)
    known, newest = memory.groups.get(group.name, GroupMemory()), canary.newest
    name = f"{newest[:19]} of {group.image}"
    if not newest:
        yield f"{group.image} is not known yet"
    elif newest == known.promotion.digest:
        yield f"{name} was promoted"
    elif newest == known.settled or newest in stable.records:
        yield f"{name} is no canary: {group.stable_image} has or had it, too"
    elif newest in canary.quarantine:
        yield f"{name} is quarantined: {canary.quarantine[newest].reason}"
    elif _is_suspended(memory, canary, stable):
        yield f"{stable.newest[:19]} of {group.stable_image} is urgent and newer than {name}"


def _is_suspended(memory: Memory, canary: ImageMemory, stable: ImageMemory) -> bool:
    """Return True if the stable image has an urgent digest that is newer than the canary's."""
    record = stable.records.get(stable.newest)
    return is_older(canary, stable) and record is not None and compute_drain_deadline(memory, record) is not None


def is_older(canary: ImageMemory, stable: ImageMemory) -> bool:
    """Return True if the canary's digest was seen before the stable image's newest, and that one is not quarantined."""
    record, own = stable.records.get(stable.newest), canary.records.get(canary.newest)
    if record is None or own is None or stable.newest in stable.quarantine:
        return False
    return own.first_seen < record.first_seen


def find_target(memory: Memory, group: SlotGroup) -> tuple[str, str]:
    """Return the key and the digest that the slots of a group, or its canary slots, are to run in the end."""
    if isinstance(group, CanaryGroup):
        if not explain_end(memory, group):
            image = memory.get_image(group.image_key)
            return group.image_key, image.pin or image.newest
        key = group.stable_key
    else:
        key = group.image_key
    promotion = find_promotion(memory, group.name)
    if promotion is not None:
        return promotion.canary, promotion.digest
    return key, memory.get_image(key).newest


def is_way_back(memory: Memory, key: str, digest: str, rival_key: str) -> bool:
    """Return True if a digest is the only good one of a stable image, so that a canary's good life does not condemn it.

    Args:
        memory: The memory.
        key: The key of the digest's image.
        digest: The digest that failed.
        rival_key: The key of the image whose digest lived well.
    """
    if key == rival_key or not any(
        rival_key in group.canaries and group.image == key for group in memory.groups.values()
    ):
        return False
    goods = [
        *memory.get_image(key).known_good,
        *(good for _, good in group_history.list_former_good_digests(memory, key)),
    ]
    return all(good.digest == digest or good.digest in memory.get_image(key).quarantine for good in goods)


def list_family(memory: Memory, key: str) -> list[str]:
    """Return the keys of an image, and of the stable images and canaries that belong to it in some group."""
    families = [(group.image, *group.canaries) for group in memory.groups.values()]
    return [key, *dict.fromkeys(other for family in families if key in family for other in family if other != key)]


def list_way_back(memory: Memory, key: str) -> list[str]:
    """Return the keys of the stable images of the groups that have this image as their canary."""
    return [group.image for group in memory.groups.values() if key in group.canaries]
