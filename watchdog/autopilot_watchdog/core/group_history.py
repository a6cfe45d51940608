"""Let the history of a group of slots follow the group when its image changes, and forget images that nobody needs.

Theory of operation. A group's former images are kept until its present image has two good digests. Until then the good
digests of the former images are the way back: they are started while the present image has none that may be started,
and the present one's first digest waits for its turn in the rings, as a push does. An image on another engine has the
history of the same reference on the former engine. An image of no group and no history is forgotten when its digests
have been removed from the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autopilot_watchdog.config.canary_slots import format_canary_image
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core.memory import GroupMemory, ImageMemory, KnownGood, Memory, Promotion, split_image_key
from autopilot_watchdog.core.preparation_waits import forget_failures

MAX_FORMER_IMAGES = 2  # of one group
KEPT_GOOD_DIGESTS = 2  # of one image: the last good one and the one before


def follow_groups(config: Config, memory: Memory) -> Memory:
    """Return the memory after a change of the groups' images."""
    memory = _follow_engines(config, memory)
    for group in config.slots:
        memory = _inherit_quarantine(memory, memory.groups.get(group.name), group.image_key)
    groups = {group.name: _follow_group(config, memory, group) for group in config.slots}
    if groups != memory.groups:
        memory = replace(memory, groups=groups)
    needed = {*(group.image_key for group in config.slots), *(key for group in groups.values() for key in group.former)}
    needed |= {key for group in groups.values() for key in group.canaries}
    images = {key: image for key, image in memory.images.items() if key in needed or _is_on_disk(memory, key, image)}
    return memory if len(images) == len(memory.images) else replace(memory, images=images)


def _follow_group(config: Config, memory: Memory, group: SlotGroup) -> GroupMemory:
    key = group.image_key
    before = memory.groups.get(group.name)
    if before is None:
        former = tuple(_find_predecessors(config, memory, group))
    else:
        former = before.former if before.image == key else (before.image, *before.former)
    former = tuple(_move_to_engine(found, group.engine) for found in dict.fromkeys(former))
    known = [found for found in former if found != key and _is_worth_keeping(memory.get_image(found))]
    if len(memory.get_image(key).known_good) >= KEPT_GOOD_DIGESTS:
        known = []
    canary = f"{group.engine} {format_canary_image(group)}" if group.canary else ""
    if before is None or _move_to_engine(before.image, group.engine) != key:
        return GroupMemory(key, tuple(known[:MAX_FORMER_IMAGES]), canary)
    changed = replace(before, image=key, former=tuple(known[:MAX_FORMER_IMAGES]), canary=canary)
    return _keep_promotion(memory, before, changed)


def _keep_promotion(memory: Memory, before: GroupMemory, group: GroupMemory) -> GroupMemory:
    """Return the group with its promotion: without its canary it holds until the group's own tag moves, as ever."""
    promotion, newest = before.promotion, memory.get_image(before.image).newest
    if promotion.canary:
        moved = _move_to_engine(promotion.canary, split_image_key(group.image)[0])
        promotion = replace(promotion, canary=moved)
    if promotion.canary != group.canary and newest not in {promotion.over, promotion.digest}:
        promotion = Promotion()
    settled = before.settled if _is_same_reference(before.canary, group.canary) else ""
    return replace(group, promotion=promotion, settled=settled)


def _is_same_reference(key: str, other: str) -> bool:
    return bool(key and other) and split_image_key(key)[1] == split_image_key(other)[1]


def _find_predecessors(config: Config, memory: Memory, group: SlotGroup) -> Iterator[str]:
    """Yield the images of groups that are gone and had another tag of the same repository: the group was renamed."""
    names, keys = {one.name for one in config.slots}, {one.image_key for one in config.slots}
    if memory.groups:
        gone = [key for name, one in memory.groups.items() if name not in names for key in (one.image, *one.former)]
    else:  # of an older watchdog, which remembered no groups
        gone = [key for key in memory.images if key not in keys]
    for key in gone:
        if _get_repository(split_image_key(key)[1]) == _get_repository(group.image):
            yield key


def _follow_engines(config: Config, memory: Memory) -> Memory:
    """Return the memory in which images on a new engine know what they knew on the group's former one."""
    images = dict(memory.images)
    for group in config.slots:
        before = memory.groups.get(group.name)
        known = (before.image, *before.former, *before.canaries) if before else ()
        if not memory.groups:  # of an older watchdog, which remembered no groups
            known = tuple(key for key in memory.images if split_image_key(key)[1] == group.image)
        for key in known:
            moved = _move_to_engine(key, group.engine)
            if key in memory.images and moved not in images:
                images[moved] = _leave_engine(memory.images[key])
    return memory if len(images) == len(memory.images) else replace(memory, images=images)


def _inherit_quarantine(memory: Memory, before: GroupMemory | None, key: str) -> Memory:
    """Return the memory in which another tag of a repository has the quarantines of the former one."""
    if before is None or before.image == key:
        return memory
    image, former = memory.get_image(key), memory.get_image(before.image)
    same = _get_repository(split_image_key(key)[1]) == _get_repository(split_image_key(before.image)[1])
    if not same or former.quarantine.keys() <= image.quarantine.keys():
        return memory
    return memory.replace_image(key, replace(image, quarantine={**former.quarantine, **image.quarantine}))


def _leave_engine(image: ImageMemory) -> ImageMemory:
    """Return what is known of an image wherever it is; on another engine nothing of it was pulled."""
    records = {digest: replace(forget_failures(record), pulled=False) for digest, record in image.records.items()}
    return replace(image, records=records, asked_at=0.0, trouble="")


def _move_to_engine(key: str, engine: str) -> str:
    return f"{engine} {split_image_key(key)[1]}"


def _is_worth_keeping(image: ImageMemory) -> bool:
    return bool(image.known_good or image.pin or image.quarantine)


def _is_on_disk(memory: Memory, key: str, image: ImageMemory) -> bool:
    """Return True if we have to remove digests of the image from an engine that is still looked at."""
    is_reachable = not memory.engines or split_image_key(key)[0] in memory.engines
    return is_reachable and any(record.pulled for record in image.records.values())


def list_former_images(memory: Memory, key: str, name: str = "") -> list[str]:
    """Return the keys of the images that a group with this image had before, the latest first.

    Args:
        memory: The memory.
        key: The present image's key.
        name: The group's name; "" for all groups with this image.
    """
    named = [group for known, group in memory.groups.items() if name in ("", known)]
    former = [found for group in named if group.image == key for found in group.former]
    # a canary's way back is the group's own image
    former += [found for group in named if key in group.canaries for found in (group.image, *group.former)]
    return [found for found in dict.fromkeys(former) if found != key]


def list_sibling_images(memory: Memory, key: str) -> list[str]:
    """Return the keys of the other images, present and former ones, of the groups that use or used this image."""
    families = [(group.image, *group.former, *group.canaries) for group in memory.groups.values()]
    return [found for family in families if key in family for found in family if found not in {"", key}]


def list_former_good_digests(memory: Memory, key: str, name: str = "") -> Iterator[tuple[str, KnownGood]]:
    """Yield the good digests of the former images, each with the former image's key, best first.

    Args:
        memory: The memory.
        key: The present image's key.
        name: The name of the group whose way back they are; "" for all groups with this image.
    """
    for former in list_former_images(memory, key, name):
        image = memory.get_image(former)
        for good in image.known_good:
            if good.digest not in image.quarantine:
                yield former, good


def list_needed_digests(memory: Memory, engine: str) -> set[str]:
    """Return the digests that any group may start on an engine: they stay there, even if another group needs them not.

    Two tags of one repository have the same names on disk, so it does not matter which image needs a digest.
    """
    wanted = {key for group in memory.groups.values() for key in (group.image, *group.former, *group.canaries) if key}
    needed = {group.promotion.digest for group in memory.groups.values()}
    for key in wanted:
        if not are_same_engine(memory, split_image_key(key)[0], engine):
            continue
        image = memory.get_image(key)
        needed |= {image.newest, image.pin, *(good.digest for good in image.known_good[:KEPT_GOOD_DIGESTS])}
        # the newest two are kept in any case: none may have proved good yet
        latest = sorted(image.records, key=lambda digest: -image.records[digest].first_seen)
        needed |= set(latest[:KEPT_GOOD_DIGESTS])
    return needed


def are_same_engine(memory: Memory, name: str, other: str) -> bool:
    """Return True if two names may lead to one engine: they have one socket, or one of them is a former NAME@SOCKET."""
    if name == other or name.partition("@")[0] == other.partition("@")[0]:
        return True
    sockets = [memory.engines[one].address for one in (name, other) if one in memory.engines]
    return len(sockets) > 1 and sockets[0] == sockets[1]


def _get_repository(reference: str) -> str:
    head, colon, tag = reference.rpartition(":")
    return head if colon and "/" not in tag else reference
