"""Apply the operator's orders: pure changes of the memory, each with a sentence about its effect."""

from __future__ import annotations

from dataclasses import replace

from autopilot_watchdog.core import quarantine
from autopilot_watchdog.core.group_history import list_former_good_digests
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.errors import WatchdogError


class OrderError(WatchdogError):
    """The order cannot be carried out; the message has the remedy."""


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
    """Pin an image to a digest: the next lives take it."""
    image = memory.get_image(key)
    digest = resolve_digest(image, digest_prefix)
    image = image.replace_digest_record(digest, image.get_digest_record(digest, now))
    return memory.replace_image(key, replace(image, pin=digest)), f"{key} is pinned to {digest}: the next lives take it"


def remove_pin(memory: Memory, key: str) -> tuple[Memory, str]:
    """Let an image follow the registry again."""
    image = memory.get_image(key)
    if not image.pin:
        raise OrderError(f"{key} is not pinned")
    return memory.replace_image(key, replace(image, pin="")), f"{key} follows the registry again"


def roll_back(memory: Memory, key: str, now: float) -> tuple[Memory, str]:
    """Quarantine the newest digest, else the last good one; the next lives take the good one before it."""
    image = memory.get_image(key)
    bad = image.newest if image.newest and image.newest not in image.quarantine else image.last_good
    rest = [good.digest for good in image.known_good if good.digest != bad]
    rest += [good.digest for _, good in list_former_good_digests(memory, key) if good.digest != bad]
    if not bad or not rest:
        raise OrderError(f"cannot roll {key} back: no other good digest is known on this host (pin one instead)")
    memory, image = quarantine.add_quarantine(
        memory, image, bad, "rolled back by the operator", now=now, source="operator"
    )
    return memory.replace_image(key, image), f"{bad} is quarantined; the next lives of {key} take {rest[0]}"


def release_quarantine(memory: Memory, key: str, digest_prefix: str, now: float) -> tuple[Memory, str]:
    """Lift the quarantine of a digest."""
    image = memory.get_image(key)
    digest = resolve_digest(image, digest_prefix)
    if digest not in image.quarantine:
        raise OrderError(f"{digest} is not quarantined for {key}")
    return memory.replace_image(key, quarantine.release_digest(image, digest, now)), f"{digest} may be started again"


def pause(memory: Memory) -> tuple[Memory, str]:
    """Start nothing until `resume`."""
    return replace(memory, paused=True), "the watchdog is paused: it starts nothing until `resume`; containers run on"


def resume(memory: Memory) -> tuple[Memory, str]:
    """End a pause."""
    return replace(memory, paused=False), "the watchdog is resumed: the next pass fills the slots"
