"""Apply the operator's orders: pure changes of the memory, each with a sentence about its effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autopilot_watchdog.core import canary_state, quarantine
from autopilot_watchdog.core.group_history import list_former_good_digests
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.preparation_waits import forget_failures
from autopilot_watchdog.errors import WatchdogError


class OrderError(WatchdogError):
    """The order cannot be carried out; the message has the remedy."""


class FleetOrderError(OrderError):
    """The fleet could not be told, so the order is not carried out here either."""


def resolve_digest(image: ImageMemory, digest_prefix: str) -> str:
    """Return the known digest that begins like this, with or without "sha256:"; a whole digest need not be known.

    Raises:
        OrderError: No known digest begins so, or several do.
    """
    known = {*image.records, *image.quarantine}
    matches = [digest for digest in known if digest.startswith((digest_prefix, f"sha256:{digest_prefix}"))]
    if len(matches) == 1:
        return matches[0]
    if len(digest_prefix) == len("sha256:") + 64 and digest_prefix.startswith("sha256:"):
        return digest_prefix
    problem = "several digests begin" if matches else "no known digest begins"
    raise OrderError(
        f"{problem} with {digest_prefix}; give the whole sha256:... (known: {', '.join(sorted(known)) or 'none'})"
    )


def set_pin(memory: Memory, key: str, digest_prefix: str, now: float) -> tuple[Memory, str]:
    """Pin an image to a digest: the next lives take it, and nothing else."""
    image = memory.get_image(key)
    digest = resolve_digest(image, digest_prefix)
    image = image.replace_digest_record(digest, image.get_digest_record(digest, now))
    sentence = f"{key} is pinned to {digest}: the next lives take it and no other digest, until `unpin`"
    if entry := image.quarantine.get(digest):
        sentence += f"; it is quarantined ({entry.reason}), and the pin overrides that"
    return memory.replace_image(key, replace(image, pin=digest)), sentence


def remove_pin(memory: Memory, key: str) -> tuple[Memory, str]:
    """Let an image follow the registry again."""
    image = memory.get_image(key)
    if not image.pin:
        raise OrderError(f"{key} is not pinned")
    return memory.replace_image(key, replace(image, pin="")), f"{key} follows the registry again"


def roll_back(
    memory: Memory, key: str, now: float, reason: str = "rolled back by the operator", source: str = "operator"
) -> tuple[Memory, str]:
    """Quarantine the newest digest, else the last good one; the next lives take the good one before it.

    A second rollback is refused: it would go a step further and condemn the digest that the first one chose. A rollback
    for the fleet extends that of this host.

    Args:
        memory: The memory before.
        key: The image's key.
        now: Epoch seconds.
        reason: The reason of the quarantine.
        source: "operator", or "fleet" if the order is the fleet's, too.

    Raises:
        OrderError: The image is pinned or rolled back already, or there is no other good digest.
    """
    image = memory.get_image(key)
    if image.pin:
        raise OrderError(
            f"cannot roll {key} back: it is pinned to {image.pin}, which the next lives take in any case; "
            "`unpin` first, or pin another digest"
        )
    promoted = canary_state.find_promoted_digest(memory, key)
    if promoted is not None:
        return _roll_back_promotion(memory, key, promoted, now=now, reason=reason, source=source)
    if taken_back := canary_state.find_promotion_taken_back(memory, key):
        return _repeat_rollback(memory, key, *taken_back, reason=reason, source=source)
    bad = image.newest or image.last_good
    rolled_back = [digest for digest, entry in image.quarantine.items() if entry.source in ("operator", "fleet")]
    done = bad if bad in image.quarantine else next(iter(rolled_back), "") if not image.newest else ""
    rest = [*list_startable_good_digests(image, bad), *_list_former_digests(memory, key, bad)]
    if done:
        return _repeat_rollback(memory, key, key, done, reason=reason, source=source)
    if not bad or not rest:
        raise OrderError(f"cannot roll {key} back: no other good digest is known on this host (pin one instead)")
    memory, image = quarantine.add_quarantine(memory, image, bad, reason, now=now, source=source)
    return memory.replace_image(key, image), f"{bad} is quarantined; the next lives of {key} take {rest[0]}"


def _repeat_rollback(
    memory: Memory, key: str, known_to: str, digest: str, *, reason: str, source: str
) -> tuple[Memory, str]:
    """Extend a rollback of this host to the fleet; OrderError if there is nothing to extend.

    Args:
        memory: The memory before.
        key: The key of the image that is rolled back.
        known_to: The key of the image that has the quarantine: this one or a canary's.
        digest: The digest that was quarantined.
        reason: The reason of the order.
        source: "operator" or "fleet".
    """
    entry = memory.get_image(known_to).quarantine[digest]
    if source == "fleet" and entry.source != "fleet":
        return _extend_to_fleet(memory, known_to, digest, reason)
    raise OrderError(
        f"cannot roll {key} back: {digest} is quarantined already ({entry.reason}), "
        f"{_describe_fallback(list_startable_good_digests(memory.get_image(key), digest))}; "
        "`quarantine DIGEST` keeps a further one from being started"
    )


def _roll_back_promotion(
    memory: Memory, key: str, promoted: tuple[str, str], *, now: float, reason: str, source: str
) -> tuple[Memory, str]:
    """Quarantine the digest that was promoted from a canary: the next lives take the image's own again."""
    canary_key, bad = promoted
    image, canary = memory.get_image(key), memory.get_image(canary_key)
    rest = [*list_startable_good_digests(image, bad), *_list_former_digests(memory, key, bad)]
    rest = rest or [digest for digest in (image.newest,) if digest not in {"", bad, *image.quarantine}]
    if not rest:
        raise OrderError(f"cannot roll {key} back: no other good digest is known on this host (pin one instead)")
    memory, canary = quarantine.add_quarantine(memory, canary, bad, reason, now=now, source=source)
    sentence = f"{bad}, promoted from {canary_key}, is quarantined; the next lives of {key} take {rest[0]}"
    return memory.replace_image(canary_key, canary), sentence


def quarantine_digest(
    memory: Memory,
    key: str,
    digest_prefix: str,
    reason: str,
    *,
    now: float,
    force: bool = False,
    source: str = "operator",
) -> tuple[Memory, str]:
    """Quarantine a digest by the operator's order.

    Args:
        memory: The memory before.
        key: The image's key.
        digest_prefix: The digest, or its beginning.
        reason: The operator's reason.
        now: Epoch seconds.
        force: True to allow an order after which no digest may be started.
        source: "operator", or "fleet" if the order is the fleet's, too.

    Raises:
        OrderError: The digest is unknown, pinned or quarantined already, or no digest could be started afterwards.
    """
    image = memory.get_image(key)
    digest = resolve_digest(image, digest_prefix)
    if digest in image.quarantine and source == "fleet" and image.quarantine[digest].source != "fleet":
        return _extend_to_fleet(memory, key, digest, reason)
    if digest in image.quarantine:
        raise OrderError(f"{digest} is quarantined already: {image.quarantine[digest].reason}")
    if digest == image.pin:
        raise OrderError(
            f"cannot quarantine {digest}: {key} is pinned to it, and the pin overrides that; `unpin` first"
        )
    rest = [*list_startable_good_digests(image, digest), *_list_former_digests(memory, key, digest)]
    others = rest or ([image.newest] if image.newest not in {"", digest, *image.quarantine} else [])
    if not others and not image.pin and not force:
        raise OrderError(
            f"cannot quarantine {digest}: no digest of {key} could be started afterwards; "
            "--force does it, and empty slots wait for a newer push"
        )
    memory, image = quarantine.add_quarantine(memory, image, digest, reason, now=now, source=source)
    sentence = f"{digest} is quarantined: {reason}; {_describe_fallback(rest)}"
    if image.pin:
        sentence = f"{digest} is quarantined: {reason}; {key} stays pinned to {image.pin}"
    return memory.replace_image(key, image), sentence


def _extend_to_fleet(memory: Memory, key: str, digest: str, reason: str) -> tuple[Memory, str]:
    """Make a quarantine of this host one of the whole fleet."""
    image = memory.get_image(key)
    entry = replace(image.quarantine[digest], reason=reason, source="fleet", confirmed=True, slot="")
    image = replace(image, quarantine={**image.quarantine, digest: entry})
    fallback = _describe_fallback(list_startable_good_digests(image, digest))
    sentence = f"the quarantine of {digest} on this host is the whole fleet's now: {reason}; {fallback}"
    return memory.replace_image(key, image), sentence


def list_startable_good_digests(image: ImageMemory, without: str = "") -> list[str]:
    """Return the good digests that may be started, the latest first, without a given one."""
    return [good.digest for good in image.known_good if good.digest != without and good.digest not in image.quarantine]


def _list_former_digests(memory: Memory, key: str, without: str) -> list[str]:
    """Return the good digests of the image's former images, without a given one."""
    return [good.digest for _, good in list_former_good_digests(memory, key) if good.digest != without]


def _describe_fallback(digests: list[str]) -> str:
    return f"the last good digest is {digests[0]}" if digests else "no good digest is known on this host"


def release_quarantine(memory: Memory, key: str, digest_prefix: str, now: float) -> tuple[Memory, str]:
    """Lift the quarantine of a digest."""
    image = memory.get_image(key)
    digest = resolve_digest(image, digest_prefix)
    if digest not in image.quarantine:
        raise OrderError(f"{digest} is not quarantined for {key}")
    for other in canary_state.list_family(memory, key):
        if digest in memory.get_image(other).quarantine:
            released = quarantine.release_digest(memory.get_image(other), digest, now)
            memory = memory.replace_image(other, released)
    return memory, f"{digest} may be started again"


def retry_now(memory: Memory, slots: Mapping[str, str], *, with_host: bool = True) -> tuple[Memory, str]:
    """End the waits of slots, of the host and of their images' pulls; quarantines stay.

    Args:
        memory: The memory before.
        slots: The image keys of the slots to try again, by slot.
        with_host: True to end the back-off of the host, too.
    """
    ended: list[str] = []
    records = dict(memory.slots)
    for name in slots:
        slot = memory.get_slot(name)
        if slot.not_before or slot.streak:
            records[name] = replace(slot, not_before=0.0, streak=0)
            ended.append(name)
    images = dict(memory.images)
    quarantined: list[str] = []
    keys = (key for own in slots.values() for key in canary_state.list_family(memory, own))
    for key in dict.fromkeys(keys):
        image = memory.get_image(key)
        for digest, record in image.records.items():
            if record.not_before or record.tries:
                ended.append(f"the pull of {digest[:19]}")
            if record.checks_failed:
                ended.append(f"the checks of {digest[:19]}")
            if forget_failures(record) != record:
                image = image.replace_digest_record(digest, forget_failures(record))
        if key in memory.images:
            images[key] = replace(image, asked_at=0.0)  # a registry that was away is asked again at once
        quarantined += [digest[:19] for digest, entry in image.quarantine.items() if entry.source != "operator"]
    memory = replace(memory, slots=records, images=images)
    if with_host and (memory.not_before or memory.streak):
        memory = replace(memory, not_before=0.0, streak=0)
        ended.append("the host")
    sentence = f"no wait any more for {', '.join(ended)}" if ended else "nothing waited for a next try"
    if memory.paused:
        sentence += "; the watchdog is paused: `resume` ends that"
    if quarantined:
        sentence += f"; still quarantined: {', '.join(quarantined)} (`release DIGEST` lifts that)"
    return memory, f"{sentence}; registries are asked again"


def pause(memory: Memory) -> tuple[Memory, str]:
    """Start nothing until `resume`."""
    return replace(memory, paused=True), "the watchdog is paused: it starts nothing until `resume`; containers run on"


def resume(memory: Memory) -> tuple[Memory, str]:
    """End a pause."""
    return replace(memory, paused=False), "the watchdog is resumed: the next pass fills the slots"
