"""What the operator can order about images: pure changes of the memory. Raises OrderError."""

from __future__ import annotations

from dataclasses import replace

from autopilot_watchdog.core import quarantine
from autopilot_watchdog.core.memory import ImageMemory, Memory


class OrderError(Exception):
    """One sentence with the remedy."""


def resolve_digest(image: ImageMemory, digest_prefix: str) -> str:
    """A digest from its beginning, as people copy it."""
    known = {*image.trials, *image.quarantine}
    found = [digest for digest in known if digest.startswith((digest_prefix, f"sha256:{digest_prefix}"))]
    if len(found) == 1:
        return found[0]
    if len(digest_prefix) == len("sha256:") + 64 and digest_prefix.startswith("sha256:"):
        return digest_prefix
    what = "several digests begin" if found else "no known digest begins"
    raise OrderError(
        f"{what} with {digest_prefix}; give the whole sha256:... (known: {', '.join(sorted(known)) or 'none'})"
    )


def set_pin(memory: Memory, key: str, digest_prefix: str, now: float) -> tuple[Memory, str]:
    image = memory.get_image(key)
    digest = resolve_digest(image, digest_prefix)
    image = image.replace_digest_record(digest, image.get_digest_record(digest, now))
    return memory.replace_image(key, replace(image, pin=digest)), f"{key} is pinned to {digest}: the next lives take it"


def remove_pin(memory: Memory, key: str, now: float) -> tuple[Memory, str]:
    image = memory.get_image(key)
    if not image.pin:
        raise OrderError(f"{key} is not pinned")
    return memory.replace_image(key, replace(image, pin="")), f"{key} follows the registry again"


def roll_back(memory: Memory, key: str, now: float) -> tuple[Memory, str]:
    """The newest digest, else the last good one, is quarantined; the next lives take the good one before it."""
    image = memory.get_image(key)
    bad = image.head if image.head and image.head not in image.quarantine else image.last_good
    rest = [good.digest for good in image.goods if good.digest != bad]
    if not bad or not rest:
        raise OrderError(f"cannot roll {key} back: no other good digest is known on this host (pin one instead)")
    memory, image = quarantine.add_quarantine(
        memory, image, bad, "rolled back by the operator", now=now, source="operator"
    )
    return memory.replace_image(key, image), f"{bad} is quarantined; the next lives of {key} take {rest[0]}"


def release_quarantine(memory: Memory, key: str, digest_prefix: str, now: float) -> tuple[Memory, str]:
    image = memory.get_image(key)
    digest = resolve_digest(image, digest_prefix)
    if digest not in image.quarantine:
        raise OrderError(f"{digest} is not quarantined for {key}")
    return memory.replace_image(key, quarantine.release_digest(image, digest, now)), f"{digest} may be started again"


def pause(memory: Memory) -> tuple[Memory, str]:
    return replace(memory, paused=True), "paused: nothing is started until `resume`; what runs, runs on"


def resume(memory: Memory) -> tuple[Memory, str]:
    return replace(memory, paused=False), "resumed: the next pass fills the slots"
