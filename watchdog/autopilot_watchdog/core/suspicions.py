"""Keep the records of lives and payloads by digest, judge them, and treat a suspect digest as the site says.

Theory of operation. core/digest_rates.py compares digests. With `suspicion.action` "warn" a suspicion is only told.
With "quarantine", slots take the digest before it while the suspicion is open, and a confirmed one puts the digest in
quarantine. That quarantine ends if the suspicion is lifted later, because the other digest does no better. It is not
told to the fleet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from autopilot_watchdog.config.suspicion_config import SuspicionConfig
from autopilot_watchdog.core import evidence, quarantine
from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.digest_rates import (
    HostScene,
    SuspicionVerdict,
    is_suspect,
    judge_image,
    list_suspicions,
)
from autopilot_watchdog.core.exit_verdict import ExitVerdict
from autopilot_watchdog.core.group_history import list_former_good_digests
from autopilot_watchdog.core.life_tallies import MIN_PAYLOADS, LivingLife, add_life, add_period, classify_end
from autopilot_watchdog.core.memory import (
    DigestRecord,
    ImageMemory,
    Memory,
    PastLife,
    PayloadCount,
    PayloadPeriod,
    Suspicion,
)
from autopilot_watchdog.core.observation import Container

RATES_SOURCE = "rates"  # of a quarantine


def record_payloads(memory: Memory, container: Container, settings: SuspicionConfig, now: float) -> Memory:
    """Count the payloads that have ended in a container since the last look; close a period when it is over.

    Args:
        memory: The memory before.
        container: The container, alive or dead.
        settings: The settings, for the length of a period.
        now: Epoch seconds.
    """
    slot, words = memory.get_slot(container.slot), container.last_words
    if slot.container != container.id or words is None or (container.alive and not words.payloads_finished):
        return memory
    count = slot.payloads
    begin = now - now % settings.burst
    is_over = not container.alive or (count.begin > 0 and begin >= count.begin + settings.burst)
    count = replace(
        count,
        begin=count.begin or begin,
        finished=max(count.finished, words.payloads_finished - count.finished_before),
        failed=max(count.failed, words.payloads_failed_fast - count.failed_before),
    )
    if is_over:
        memory = _close_period(memory, container, count)
        count = PayloadCount(
            begin,
            finished_before=count.finished_before + count.finished,
            failed_before=count.failed_before + count.failed,
        )
    return memory if count == slot.payloads else memory.replace_slot(container.slot, replace(slot, payloads=count))


def _close_period(memory: Memory, container: Container, count: PayloadCount) -> Memory:
    image = memory.get_image(container.image_key)
    record = image.records.get(container.digest)
    if record is None or not count.finished:
        return memory
    tells = count.finished >= MIN_PAYLOADS
    period = PayloadPeriod(
        count.begin, int(tells), int(tells and 2 * count.failed > count.finished), count.finished, count.failed
    )
    image = image.replace_digest_record(container.digest, add_period(record, period))
    return memory.replace_image(container.image_key, image)


def record_life(memory: Memory, container: Container, end: ExitVerdict) -> Memory:
    """Add a life that has ended to the record of its digest, if its end tells something."""
    kind, image = classify_end(end), memory.get_image(container.image_key)
    record = image.records.get(container.digest)
    if kind is None or record is None:
        return memory
    life = PastLife(
        container.slot, container.ended, math.ceil(max(0.0, container.ended - container.started)), str(kind)
    )
    return memory.replace_image(
        container.image_key, image.replace_digest_record(container.digest, add_life(record, life))
    )


def judge_host(context: DecisionContext, memory: Memory) -> Memory:
    """Return the memory with the suspicions against digests as they are now, and with their consequences."""
    settings = context.config.suspicion
    if settings.action == "off":
        return memory
    for key in dict.fromkeys(group.image_key for group in context.config.list_channels()):
        image, rivals = memory.get_image(key), _find_rivals(memory, key)
        living = [
            LivingLife(one.slot, one.digest, context.now - one.started)
            for one in context.alive_containers.values()
            if one.started and (one.digest in image.records or one.digest in rivals)
        ]
        slots = {name for name, group in context.groups.items() if group.image_key == key}
        slots |= {one.slot for one in living if one.digest in image.records}  # a promoted canary is in other slots, too
        judged = judge_image(image, rivals, settings, HostScene(living, len(slots), context.now))
        if judged is not image:
            memory = memory.replace_image(key, judged)
        if any(record.suspicions for record in judged.records.values()):
            memory = _treat(memory, key, settings, context.now)
    return memory


def _find_rivals(memory: Memory, key: str) -> dict[str, DigestRecord]:
    """Return the records of the good digests of an image and its former ones, by digest."""
    image = memory.get_image(key)
    goods = [(image, good.digest) for good in image.known_good]
    goods += [(memory.get_image(former), good.digest) for former, good in list_former_good_digests(memory, key)]
    return {digest: owner.records[digest] for owner, digest in goods if digest in owner.records}


def _treat(memory: Memory, key: str, settings: SuspicionConfig, now: float) -> Memory:
    image = memory.get_image(key)
    for digest, record in image.records.items():
        entry = image.quarantine.get(digest)
        confirmed = [one for one in record.suspicions.values() if one.verdict == SuspicionVerdict.CONFIRMED]
        if entry is not None and entry.source == RATES_SOURCE and not is_suspect(record):
            lifted = record.suspicions
            image = quarantine.release_digest(image, digest, now)
            image = image.replace_digest_record(digest, replace(image.records[digest], suspicions=lifted))
        elif settings.action != "quarantine" or not confirmed or entry is not None or digest == image.pin:
            continue
        elif evidence.has_other_good(memory, key, digest):
            reason = f"its {confirmed[0].sentence}, and that one has done well since"
            memory, image = quarantine.add_quarantine(memory, image, digest, reason, now=now, source=RATES_SOURCE)
    return memory if image is memory.get_image(key) else memory.replace_image(key, image)


def find_trial(image: ImageMemory, digest: str, settings: SuspicionConfig) -> Suspicion | None:
    """Return the open suspicion for which slots take the digest before this one; None if they do not."""
    record = image.records.get(digest)
    if settings.action != "quarantine" or record is None:
        return None
    return next((one for one in list_suspicions(record) if one.verdict == SuspicionVerdict.OPEN), None)


def describe_suspicions(image: ImageMemory) -> Iterator[str]:
    """Yield a sentence for each digest of an image that is suspect."""
    for digest, record in image.records.items():
        for found in () if digest in image.quarantine else list_suspicions(record):
            note = ", which has done well since" if found.verdict == SuspicionVerdict.CONFIRMED else ""
            yield f"{digest[:19]} is suspect: {found.sentence}{note}"


def count_suspects(image: ImageMemory) -> int:
    """Return the number of digests of an image that are suspect and not quarantined."""
    return sum(is_suspect(record) and digest not in image.quarantine for digest, record in image.records.items())
