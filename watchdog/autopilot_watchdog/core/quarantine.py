"""Draw conclusions from the ends of lives: back-off, promotion, quarantine and its release.

Theory of operation. core/evidence.py counts the failed lives of each digest by slot and compares them with the lives of
other digests. A digest is quarantined only after another one lived well in a slot in which it failed. If that other one
fails there soon after, too, the quarantine is lifted: the slot or something outside is to blame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autopilot_watchdog.config.config_model import FailuresConfig
from autopilot_watchdog.core import canary_state, evidence
from autopilot_watchdog.core.blame import Blame
from autopilot_watchdog.core.evidence import Comparison
from autopilot_watchdog.core.exit_verdict import CUT_SHORT_CODES, EXCUSED_CODES, FAILED, GOOD, NEUTRAL, ExitVerdict
from autopilot_watchdog.core.good_lives import change_good_lives
from autopilot_watchdog.core.group_history import list_sibling_images
from autopilot_watchdog.core.memory import Finding, ImageMemory, KnownGood, Memory, Quarantine
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.preparation_waits import forget_failures
from autopilot_watchdog.core.retry_delay import compute_retry_delay
from autopilot_watchdog.core.slot_actions import Start
from autopilot_watchdog.sentence_parts import format_times

RELAPSE_FACTOR = 30.0  # a good life that fails by itself before so many `good_after` counts as a failed one, too


@dataclass(frozen=True, slots=True)
class FailedLife:
    """Life that failed, or a start that the engine refused."""

    image_key: str
    slot: str
    digest: str
    age: float  # seconds
    sentence: str
    least: int = 1  # failed lives in a row, this one included


def record_end(
    memory: Memory,
    container: Container,
    end: ExitVerdict,
    settings: FailuresConfig,
    now: float,
    *,
    ordered: bool = False,
) -> Memory:
    """Record the end of a life.

    Args:
        memory: The memory before.
        container: The dead container, with corrected times.
        end: The verdict on it.
        settings: The settings of back-off and quarantine.
        now: Epoch seconds.
        ordered: True if the container was asked to drain or to stop. Such an early end tells nothing, however often.
    """
    slot = memory.get_slot(container.slot)
    lived = max(0.0, container.ended - container.started) if container.started else 0.0
    was_good = end.verdict == GOOD or (slot.proved and slot.container == container.id)
    early = _ended_early(end, lived, settings)
    relapsed = end.verdict == GOOD and end.own_fault and lived < RELAPSE_FACTOR * settings.good_after
    if end.verdict == GOOD:
        memory = record_success(memory, container, settings, now)
        slot = memory.get_slot(container.slot)
    least = 0  # failed lives in a row after this one; 0: this one did not fail
    repeated = 0  # early ends in a row that do not count as failed lives
    failed = end.verdict == FAILED or relapsed
    excused = ordered and early and not failed
    if failed:
        least = 1
    elif early and not excused and (end.verdict == GOOD or end.code not in EXCUSED_CODES):
        slot, repeated = evidence.count_short_life(slot, container.digest)
        least = settings.quarantine_after if repeated >= settings.quarantine_after + evidence.SHORT_LIVES_ALLOWED else 0
    elif not early:
        slot = evidence.forget_short_lives(slot)
    streak = max(slot.streak + (0 if excused else 1), repeated) if early or least else 0
    # after the first early end, such as a kill or an operator's stop, the slot need not wait
    delaying = 0 if excused else streak if end.verdict == FAILED else streak - 1
    delay_s = compute_retry_delay(delaying, settings.initial, settings.longest, container.slot)
    not_before = now + delay_s if delaying > 0 else 0.0
    slot = replace(
        slot,
        container=container.id,
        digest=container.digest,
        started=container.started,
        ended=container.ended or now,
        streak=streak,
        not_before=not_before,
    )
    memory = memory.replace_slot(container.slot, slot).increase_count(f"lives_{end.verdict}")
    if not least:
        return memory
    if was_good:  # it is no evidence for the digest any more
        image = memory.get_image(container.image_key)
        memory = memory.replace_image(container.image_key, change_good_lives(image, container.digest, -1, now))
    failure = FailedLife(container.image_key, container.slot, container.digest, lived, end.sentence, least)
    return _record_failure(memory, failure, settings, now)


def _ended_early(end: ExitVerdict, lived: float, settings: FailuresConfig) -> bool:
    """Return True if a life was so short that another one like it would be suspicious."""
    if end.fulfilled:
        return False
    unproved = end.verdict == NEUTRAL and end.code in CUT_SHORT_CODES
    return lived < (RELAPSE_FACTOR if unproved else 1.0) * settings.good_after


def record_start_failure(
    memory: Memory, key: str, start: Start, *, error: str, settings: FailuresConfig, now: float
) -> Memory:
    """Record that the engine could not start a container: it counts as a failed life."""
    slot = memory.get_slot(start.slot)
    streak = slot.streak + 1
    wait = compute_retry_delay(streak, settings.initial, settings.longest, start.slot)
    slot = replace(slot, digest=start.digest, streak=streak, not_before=now + wait)
    memory = memory.replace_slot(start.slot, slot).increase_count("starts_failed")
    return _record_failure(memory, FailedLife(key, start.slot, start.digest, 0.0, error), settings, now)


def record_success(memory: Memory, container: Container, settings: FailuresConfig, now: float) -> Memory:
    """Record that a life has proved its digest good.

    Every container counts once, and once more when it is older than the failed lives before it in its slot.
    """
    slot = memory.get_slot(container.slot)
    age = max(0.0, (now if container.alive else container.ended) - container.started)
    failing = evidence.has_failing_digest(slot)
    conclusive = not failing or age > evidence.compute_hurdle(slot)
    counted = slot.proved and slot.container == container.id
    if counted and not (failing and conclusive):
        return memory if container.alive else _record_age(memory, container.image_key, container.digest, age)
    if failing and conclusive:
        memory = _conclude(memory, container, settings, now)
    key, digest = container.image_key, container.digest
    image = memory.get_image(key)
    if conclusive and digest in image.quarantine and image.quarantine[digest].source == "hosts":
        image = release_digest(image, digest, now)  # it lives well here, so this host does not believe the others
    known_good = {good.digest: good for good in image.known_good}
    latest = max(container.started, known_good[digest].life_started if digest in known_good else 0.0)
    if digest not in image.quarantine or image.pin == digest:
        known_good[digest] = KnownGood(digest, latest)
    record = replace(image.get_digest_record(digest, now), pulled=True)
    record = evidence.record_good_life(record, age, conclusive=conclusive)
    record = record if counted else replace(record, good_lives=record.good_lives + 1)
    image = replace(
        image.replace_digest_record(digest, record),
        known_good=tuple(sorted(known_good.values(), key=lambda good: -good.life_started)[:3]),
        quarantine=_confirm_quarantines(image, container),
    )
    for other in canary_state.list_family(memory, key)[1:]:
        relative = memory.get_image(other)
        if relative.quarantine:
            relative = replace(relative, quarantine=_confirm_quarantines(relative, container))
            memory = memory.replace_image(other, relative)
    slot = memory.get_slot(container.slot)
    slot = replace(slot, container=container.id, digest=digest, started=container.started, proved=True)
    memory = memory.replace_image(key, image)
    if not conclusive:
        return memory.replace_slot(container.slot, slot)
    return replace(memory.replace_slot(container.slot, replace(slot, streak=0)), streak=0, not_before=0.0)


def _confirm_quarantines(image: ImageMemory, container: Container) -> dict[str, Quarantine]:
    """Return an image's quarantines after a good life: other digests that failed before it failed by themselves."""
    return {
        digest: replace(
            entry, confirmed=entry.confirmed or (digest != container.digest and container.started >= entry.since)
        )
        for digest, entry in image.quarantine.items()
    }


def _record_age(memory: Memory, key: str, digest: str, age: float) -> Memory:
    image = memory.get_image(key)
    record = image.records.get(digest)
    if record is None or record.lived >= int(age):
        return memory
    return memory.replace_image(key, image.replace_digest_record(digest, replace(record, lived=int(age))))


def _conclude(memory: Memory, container: Container, settings: FailuresConfig, now: float) -> Memory:
    """Judge the digests that failed in the slot of a good life, and begin the slot's counts anew."""
    name, rival, digests = container.slot, container.digest, memory.get_slot(container.slot).failed
    for digest, failures in digests.items():
        key = _find_image_of_digest(memory, container.image_key, digest)
        image = memory.get_image(key)
        if not failures.count or digest in (rival, image.pin) or digest not in image.records:
            continue
        if digest in image.quarantine or canary_state.is_way_back(memory, key, digest, container.image_key):
            continue
        family = [memory.get_image(other) for other in canary_state.list_family(memory, key)[1:]]
        others = [good.digest for other in family for good in other.known_good]
        comparison = Comparison(digest, name, rival)
        blame = evidence.judge_digest(memory, image, comparison, settings, now, others=others)
        if blame in (Blame.NOTED, Blame.IMAGE):
            finding = Finding(now, failures.count, failures.age, rival)
            image = evidence.note_finding(image, digest, name, finding)
        if blame is Blame.IMAGE:
            reason = (
                f"the digest failed {format_times(failures.count)} in {name}, where {rival[:19]} then lived well; "
                f"the last time because {failures.sentence}"
            )
            memory, image = add_quarantine(memory, image, digest, reason, now=now, slot=name)
        memory = memory.replace_image(key, image)
    return memory.replace_slot(name, evidence.begin_anew(memory.get_slot(name)))


def _find_image_of_digest(memory: Memory, key: str, digest: str) -> str:
    """Return the key of the image that has a digest: a group's present image was compared with a former one."""
    siblings = [key, *list_sibling_images(memory, key)]
    return next((found for found in siblings if digest in memory.get_image(found).records), key)


def _record_failure(memory: Memory, life: FailedLife, settings: FailuresConfig, now: float) -> Memory:
    image = memory.get_image(life.image_key)
    if (
        life.digest in image.quarantine
        and life.digest != image.pin
        and evidence.has_other_good(memory, life.image_key, life.digest)
    ):
        return _clear_slot_backoff(memory, life.digest)  # the container was started before the quarantine
    record = image.get_digest_record(life.digest, now)
    record = replace(record, failures=record.failures + 1, trouble=life.sentence)
    image = _release_doubtful(image.replace_digest_record(life.digest, record), life, settings, now)
    slot = evidence.count_failure(
        memory.get_slot(life.slot), life.digest, life.age, life.sentence, now, least=life.least
    )
    memory = memory.replace_image(life.image_key, image).replace_slot(life.slot, slot)
    if any(good.digest == life.digest for good in image.known_good):
        for key in canary_state.list_family(memory, life.image_key)[1:]:
            memory = memory.replace_image(key, _release_recent(memory.get_image(key), life, settings, now))
    memory = replace(memory, streak=memory.streak + 1)
    if evidence.must_host_wait(memory, settings):
        repeated = evidence.count_host_failures(memory, settings)
        wait = compute_retry_delay(repeated, settings.host_initial, settings.host_longest, "host")
        memory = replace(memory, not_before=now + wait)
    return memory


def add_quarantine(
    memory: Memory,
    image: ImageMemory,
    digest: str,
    reason: str,
    *,
    now: float,
    source: str = "host",
    slot: str = "",
) -> tuple[Memory, ImageMemory]:
    """Quarantine a digest and end the back-off of its slots, because the good digest takes over.

    Returns:
        The memory with counter and slots changed, and the changed image, which is not yet part of that memory.
    """
    entry = Quarantine(now, reason, source, confirmed=source != "host" or bool(slot), slot=slot)
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
    """Lift the quarantine of a digest and forget its failures and its lives."""
    kept = {other: entry for other, entry in image.quarantine.items() if other != digest}
    record = image.get_digest_record(digest, now)
    record = replace(forget_failures(record), failures=0, trouble="", findings={})
    record = replace(record, lives=(), periods=(), suspicions={})
    return replace(image.replace_digest_record(digest, record), quarantine=kept)


def _release_doubtful(image: ImageMemory, life: FailedLife, settings: FailuresConfig, now: float) -> ImageMemory:
    """Lift the recent quarantines that rest on this slot, if a good digest fails there: the slot may be to blame."""
    if all(good.digest != life.digest for good in image.known_good):
        return image
    return _release_recent(image, life, settings, now)


def _release_recent(image: ImageMemory, life: FailedLife, settings: FailuresConfig, now: float) -> ImageMemory:
    for digest, entry in list(image.quarantine.items()):
        rests_here = entry.source in ("host", "shared") and entry.slot in ("", life.slot)
        if rests_here and not (entry.confirmed and not entry.slot) and now - entry.since <= settings.acquit_within:
            image = release_digest(image, digest, now)
    return image
