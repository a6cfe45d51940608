"""Describe everything that keeps an image from being renewed, also while its slots run well."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.core.memory import ImageMemory, StepFailures
from autopilot_watchdog.core.preparation_waits import list_failures
from autopilot_watchdog.core.suspicions import describe_suspicions
from autopilot_watchdog.sentence_parts import format_repeats
from autopilot_watchdog.timestamps import format_age

STUCK_TRIES = 3  # failed pulls, signature checks or pre-flights in a row that are worth a message


def list_image_troubles(image: ImageMemory, now: float) -> Iterator[str]:
    """Yield a sentence about each present trouble of an image: its registry, pulls, checks, suspect digests.

    Args:
        image: The memory of the image.
        now: Epoch seconds.
    """
    if image.trouble:
        age = f"last answered {format_age(now - image.answered_at)} ago" if image.answered_at else "has never answered"
        yield f"the registry {age}: {image.trouble}"
    for digest in find_wanted_digests(image):
        record = image.records.get(digest)
        for failures in list_failures(record) if record is not None else ():
            yield _describe_failed_preparation(digest, failures, now)
    yield from describe_suspicions(image)
    if image.newest in image.quarantine:
        yield f"the newest {image.newest[:19]} is quarantined: {image.quarantine[image.newest].reason}"


def find_wanted_digests(image: ImageMemory) -> list[str]:
    """Return the digests that slots would take: the pinned one alone, else the newest and the good ones."""
    if image.pin:
        return [image.pin]
    wanted = dict.fromkeys([image.newest, *(good.digest for good in image.known_good)])
    return [digest for digest in wanted if digest and digest not in image.quarantine]


def find_stuck_digests(before: ImageMemory, after: ImageMemory) -> Iterator[str]:
    """Yield the wanted digests with preparations that failed STUCK_TRIES times in a row since `before`."""
    for digest in find_wanted_digests(after):
        tries = [find_worst_failures(image, digest).tries for image in (before, after)]
        if tries[0] < STUCK_TRIES <= tries[1]:
            yield digest


def count_failed_preparations(image: ImageMemory) -> int:
    """Return the failed pulls, signature checks and pre-flights in a row of the digest with the most of them."""
    return max((find_worst_failures(image, digest).tries for digest in find_wanted_digests(image)), default=0)


def find_worst_failures(image: ImageMemory, digest: str) -> StepFailures:
    """Return the failures of the digest's preparing step that failed most often in a row."""
    failures = list_failures(image.records[digest]) if digest in image.records else ()
    return max(failures, key=lambda found: found.tries, default=StepFailures())


def _describe_failed_preparation(digest: str, failures: StepFailures, now: float) -> str:
    wait = format_age(failures.not_before - now) if failures.not_before > now else ""
    retry = f"the next try is in {wait}" if wait else "it is tried again"
    return f"the preparation of {digest[:19]} failed {format_repeats(failures.tries)}, {retry}: {failures.trouble}"
