"""Describe everything that keeps an image from being renewed, also while its slots run well."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.core.memory import DigestRecord, ImageMemory
from autopilot_watchdog.core.suspicions import describe_suspicions
from autopilot_watchdog.timestamps import format_age


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
        if record is not None and record.tries:
            yield _describe_failed_preparation(digest, record, now)
    yield from describe_suspicions(image)
    if image.newest in image.quarantine:
        yield f"the newest {image.newest[:19]} is quarantined: {image.quarantine[image.newest].reason}"


def find_wanted_digests(image: ImageMemory) -> list[str]:
    """Return the digests that slots would take: the pinned one alone, else the newest and the good ones."""
    if image.pin:
        return [image.pin]
    wanted = dict.fromkeys([image.newest, *(good.digest for good in image.known_good)])
    return [digest for digest in wanted if digest and digest not in image.quarantine]


STUCK_TRIES = 3  # failed pulls, signature checks or pre-flights in a row that are worth a message


def find_stuck_digests(before: ImageMemory, after: ImageMemory) -> Iterator[str]:
    """Yield the wanted digests with preparations that failed STUCK_TRIES times in a row since `before`."""
    for digest in find_wanted_digests(after):
        tries = [image.records[digest].tries if digest in image.records else 0 for image in (before, after)]
        if tries[0] < STUCK_TRIES <= tries[1]:
            yield digest


def count_failed_preparations(image: ImageMemory) -> int:
    """Return the failed pulls, signature checks and pre-flights in a row of the digest with the most of them."""
    records = (image.records.get(digest) for digest in find_wanted_digests(image))
    return max((record.tries for record in records if record is not None), default=0)


def _describe_failed_preparation(digest: str, record: DigestRecord, now: float) -> str:
    tries = "once" if record.tries == 1 else f"{record.tries} times"
    wait = format_age(record.not_before - now) if record.not_before > now else ""
    retry = f"the next try is in {wait}" if wait else "it is tried again"
    return f"{digest[:19]} could not be prepared {tries} in a row, {retry}: {record.trouble}"
