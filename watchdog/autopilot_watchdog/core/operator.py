"""What the operator can order about images: pure changes of the memory. Raises OrderError."""

from __future__ import annotations

from dataclasses import replace

from autopilot_watchdog.core import judging
from autopilot_watchdog.core.memory import ImageMemory, Memory


class OrderError(Exception):
    """One sentence with the remedy."""


def full_digest(image: ImageMemory, given: str) -> str:
    """A digest from its beginning, as people copy it."""
    known = {*image.trials, *image.quarantine}
    found = [digest for digest in known if digest.startswith((given, f"sha256:{given}"))]
    if len(found) == 1:
        return found[0]
    if len(given) == len("sha256:") + 64 and given.startswith("sha256:"):
        return given
    what = "several digests begin" if found else "no known digest begins"
    raise OrderError(f"{what} with {given}; give the whole sha256:... (known: {', '.join(sorted(known)) or 'none'})")


def pin(memory: Memory, key: str, given: str, now: float) -> tuple[Memory, str]:
    image = memory.image(key)
    digest = full_digest(image, given)
    image = image.with_trial(digest, image.trial(digest, now))
    return memory.with_image(key, replace(image, pin=digest)), f"{key} is pinned to {digest}: the next lives take it"


def unpin(memory: Memory, key: str, now: float) -> tuple[Memory, str]:
    image = memory.image(key)
    if not image.pin:
        raise OrderError(f"{key} is not pinned")
    return memory.with_image(key, replace(image, pin="")), f"{key} follows the registry again"


def rollback(memory: Memory, key: str, now: float) -> tuple[Memory, str]:
    """The newest digest, else the last good one, is quarantined; the next lives take the good one before it."""
    image = memory.image(key)
    bad = image.head if image.head and image.head not in image.quarantine else image.last_good
    rest = [good.digest for good in image.goods if good.digest != bad]
    if not bad or not rest:
        raise OrderError(f"cannot roll {key} back: no other good digest is known on this host (pin one instead)")
    memory, image = judging.quarantined(memory, image, bad, "rolled back by the operator", now=now, source="operator")
    return memory.with_image(key, image), f"{bad} is quarantined; the next lives of {key} take {rest[0]}"


def release(memory: Memory, key: str, given: str, now: float) -> tuple[Memory, str]:
    image = memory.image(key)
    digest = full_digest(image, given)
    if digest not in image.quarantine:
        raise OrderError(f"{digest} is not quarantined for {key}")
    return memory.with_image(key, judging.released(image, digest, now)), f"{digest} may be started again"


def pause(memory: Memory) -> tuple[Memory, str]:
    return replace(memory, paused=True), "paused: nothing is started until `resume`; what runs, runs on"


def resume(memory: Memory) -> tuple[Memory, str]:
    return replace(memory, paused=False), "resumed: the next pass fills the slots"
