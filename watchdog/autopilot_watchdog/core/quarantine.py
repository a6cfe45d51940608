"""Draw conclusions from the ends of lives: back-off, promotion, quarantine and its release.

Theory of operation. A new digest is judged against the good one on the same host. If it fails `quarantine_after` times
in a row, it is quarantined, and the good digest takes over at once. If the good digest then lives well, the new image
was to blame: the quarantine is confirmed and told to the fleet. If the good digest fails too, the host or something
outside is to blame: the new digest is released and the host backs off. Without a good digest there is only back-off.
"""

from __future__ import annotations

from dataclasses import replace

from autopilot_watchdog.config.config_model import FailuresConfig
from autopilot_watchdog.core.exit_verdict import FAILED, GOOD, ExitVerdict
from autopilot_watchdog.core.group_history import list_former_good_digests
from autopilot_watchdog.core.memory import ImageMemory, KnownGood, Memory, Quarantine
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.retry_delay import compute_retry_delay
from autopilot_watchdog.core.slot_actions import Start


def record_end(memory: Memory, container: Container, end: ExitVerdict, settings: FailuresConfig, now: float) -> Memory:
    """Record the end of a life.

    Args:
        memory: The memory before.
        container: The dead container, with corrected times.
        end: The verdict on it.
        settings: The settings of back-off and quarantine.
        now: Epoch seconds.
    """
    slot = memory.get_slot(container.slot)
    lived = container.ended - container.started if container.started else 0.0
    short = end.verdict != GOOD and lived < settings.good_after
    streak = slot.streak + 1 if short or end.verdict == FAILED else 0
    # after the first short neutral life, such as a kill or an operator's stop, the slot need not wait
    delaying = streak if end.verdict == FAILED else streak - 1
    delay_s = compute_retry_delay(delaying, settings.initial, settings.longest, container.slot)
    not_before = now + delay_s if delaying > 0 else 0.0
    memory = memory.replace_slot(
        container.slot,
        replace(
            slot,
            container=container.id,
            digest=container.digest,
            started=container.started,
            ended=container.ended or now,
            streak=streak,
            not_before=not_before,
        ),
    ).increase_count(f"lives_{end.verdict}")
    if end.verdict == GOOD:
        return record_success(memory, container, now)
    if end.verdict == FAILED:
        return _record_failure(
            memory, container.image_key, container.digest, reason=end.sentence, settings=settings, now=now
        )
    return memory


def record_start_failure(
    memory: Memory, key: str, start: Start, *, error: str, settings: FailuresConfig, now: float
) -> Memory:
    """Record that the engine could not start a container: it counts as a failed life."""
    slot = memory.get_slot(start.slot)
    streak = slot.streak + 1
    wait = compute_retry_delay(streak, settings.initial, settings.longest, start.slot)
    slot = replace(slot, digest=start.digest, streak=streak, not_before=now + wait)
    memory = memory.replace_slot(start.slot, slot).increase_count("starts_failed")
    return _record_failure(memory, key, start.digest, reason=error, settings=settings, now=now)


def record_success(memory: Memory, container: Container, now: float) -> Memory:
    """Record that a living container has proved its digest good; every container counts once."""
    slot = memory.get_slot(container.slot)
    if slot.proved and slot.container == container.id:
        return memory
    key, digest = container.image_key, container.digest
    image = memory.get_image(key)
    known_good = {good.digest: good for good in image.known_good}
    latest = max(container.started, known_good[digest].life_started if digest in known_good else 0.0)
    if digest not in image.quarantine or image.pin == digest:
        known_good[digest] = KnownGood(digest, latest)
    quarantine = {  # a good image lives well on this host, so the quarantined ones failed by themselves
        other: replace(entry, confirmed=entry.confirmed or (other != digest and container.started >= entry.since))
        for other, entry in image.quarantine.items()
    }
    image = replace(
        image.replace_digest_record(digest, replace(image.get_digest_record(digest, now), failures=0, pulled=True)),
        known_good=tuple(sorted(known_good.values(), key=lambda good: -good.life_started)[:3]),
        quarantine=quarantine,
    )
    slot = replace(slot, container=container.id, digest=digest, started=container.started, proved=True, streak=0)
    return replace(memory.replace_image(key, image).replace_slot(container.slot, slot), streak=0, not_before=0.0)


def _record_failure(
    memory: Memory, key: str, digest: str, *, reason: str, settings: FailuresConfig, now: float
) -> Memory:
    image = memory.get_image(key)
    if digest in image.quarantine and digest != image.pin:
        return _clear_slot_backoff(memory, digest)  # the container was started before the quarantine
    record = image.get_digest_record(digest, now)
    record = replace(record, failures=record.failures + 1, trouble=reason)
    image = image.replace_digest_record(digest, record)
    streak = memory.streak + 1
    not_before = memory.not_before
    if record.failures >= settings.quarantine_after and digest != image.pin and _has_other_good(memory, key, digest):
        memory, image = add_quarantine(
            memory, image, digest, f"the digest failed {record.failures} times, the last time because {reason}", now=now
        )
        not_before = 0.0
    else:
        image = _release_unconfirmed(image, digest, settings, now)
        if streak >= settings.host_after:
            wait = compute_retry_delay(
                streak - settings.host_after + 1, settings.host_initial, settings.host_longest, "host"
            )
            not_before = now + wait
    return replace(memory.replace_image(key, image), streak=streak, not_before=not_before)


def add_quarantine(
    memory: Memory, image: ImageMemory, digest: str, reason: str, *, now: float, source: str = "host"
) -> tuple[Memory, ImageMemory]:
    """Quarantine a digest and end the back-off of its slots, because the good digest takes over.

    Returns:
        The memory with counter and slots changed, and the changed image, which is not yet part of that memory.
    """
    entry = Quarantine(now, reason, source, confirmed=source != "host")
    known_good = tuple(good for good in image.known_good if good.digest != digest)
    image = replace(image, quarantine={**image.quarantine, digest: entry}, known_good=known_good)
    return _clear_slot_backoff(memory.increase_count("quarantines"), digest), image


def _clear_slot_backoff(memory: Memory, digest: str) -> Memory:
    """End the wait of the digest's slots; keep their streaks, so that waits go on rising if the good one fails too."""
    slots = {
        name: replace(slot, not_before=0.0) if slot.digest == digest else slot for name, slot in memory.slots.items()
    }
    return replace(memory, slots=slots)


def release_digest(image: ImageMemory, digest: str, now: float) -> ImageMemory:
    """Lift the quarantine of a digest and forget its failures."""
    kept = {other: entry for other, entry in image.quarantine.items() if other != digest}
    record = replace(image.get_digest_record(digest, now), failures=0, tries=0, not_before=0.0, trouble="")
    return replace(image.replace_digest_record(digest, record), quarantine=kept)


def _has_other_good(memory: Memory, key: str, digest: str) -> bool:
    image = memory.get_image(key)
    goods = [*image.known_good, *(good for _, good in list_former_good_digests(memory, key))]
    return any(good.digest != digest and good.digest not in image.quarantine for good in goods)


def _release_unconfirmed(image: ImageMemory, failed_digest: str, settings: FailuresConfig, now: float) -> ImageMemory:
    """Lift recent unconfirmed quarantines if the failed digest is a good one: the images were not to blame."""
    if all(good.digest != failed_digest for good in image.known_good):
        return image
    for digest, entry in list(image.quarantine.items()):
        if entry.source == "host" and not entry.confirmed and now - entry.since <= settings.acquit_within:
            image = release_digest(image, digest, now)
    return image
