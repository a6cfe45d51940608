"""Weigh the evidence of lives against digests, slots and the host; core/blame.py has the tables of the conclusions.

Theory of operation. Every slot counts the failed lives of each digest until a life is good in it. After
`quarantine_after` failed lives the slot takes another good digest, for comparison. If that fails too, the slot is
broken, and it goes on with both in turn and its back-off. If it lives well, BLAME_TABLE concludes. A life is good
only when it is PROOF_FACTOR times as old as the failed lives were: an image that is good at 1 s and dead at 3 s is not
good. While a digest that never lived well on this host fails, one slot goes on to try it, and the others do not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from autopilot_watchdog.config.config_model import FailuresConfig
from autopilot_watchdog.core.blame import (
    BLAME_TABLE,
    HOST_WAITS,
    Blame,
    Earlier,
    HostSigns,
    HostStreak,
    Lives,
    Standing,
    Witness,
)
from autopilot_watchdog.core.group_history import list_former_good_digests
from autopilot_watchdog.core.memory import DigestRecord, Finding, ImageMemory, Memory, SlotFailures, SlotMemory
from autopilot_watchdog.sentence_parts import format_count

WITNESS_MEMORY_S = 7 * 86400.0  # a slot in which a good digest failed within so long says nothing against others
HOST_MEMORY_S = 86400.0  # the same of a host where a good digest failed in any slot and lives well there again
COMPARISON_GAP_S = 60.0  # a life that starts later after the last failed one may have found another world
COMPARISON_SPAN_S = 150.0  # the same from start to start, with the longest failed life: an outage may end
PROOF_FACTOR = 2.0  # so many times as old as the failed lives is a life that disproves them
SHORT_LIVES_ALLOWED = 2  # neutral ends soon after the start may be an operator's; further ones are failures
MAX_DIGESTS = 8  # remembered for each slot


@dataclass(frozen=True, slots=True)
class Comparison:
    """Good life of another digest in a slot in which one failed."""

    digest: str  # the digest that failed
    slot: str
    rival: str  # the digest that lived


def count_failure(
    slot: SlotMemory, digest: str, age: float, sentence: str, now: float, *, least: int = 1
) -> SlotMemory:
    """Return the slot with one more failed life of a digest.

    Args:
        slot: The memory of the slot.
        digest: The digest of the life.
        age: Seconds that the life lasted.
        sentence: Sentence about its end.
        now: Epoch seconds.
        least: The least number of failed lives in a row after this one.
    """
    before = slot.failed.get(digest, SlotFailures())
    failures = SlotFailures(
        count=max(before.count + 1, least),
        short=before.short,
        failed_at=now,
        age=max(math.ceil(age), before.age if before.count else 0),
        sentence=sentence,
    )
    failed = _keep_latest({**slot.failed, digest: failures})
    return replace(slot, failed=failed, failing_since=slot.failing_since or now)


def count_short_life(slot: SlotMemory, digest: str) -> tuple[SlotMemory, int]:
    """Return the slot with one more neutral life that ended early, and the number of these in a row."""
    before = slot.failed.get(digest, SlotFailures())
    failures = replace(before, short=before.short + 1)
    return replace(slot, failed=_keep_latest({**slot.failed, digest: failures})), failures.short


def forget_short_lives(slot: SlotMemory) -> SlotMemory:
    """Return the slot with its counts of early neutral ends cleared: a life lasted."""
    if not any(failures.short for failures in slot.failed.values()):
        return slot
    return replace(slot, failed={digest: replace(failures, short=0) for digest, failures in slot.failed.items()})


def _keep_latest(failed: dict[str, SlotFailures]) -> dict[str, SlotFailures]:
    return dict(sorted(failed.items(), key=lambda item: -item[1].failed_at)[:MAX_DIGESTS])


def compute_hurdle(slot: SlotMemory) -> float:
    """Return the age in seconds at which a life in this slot disproves the failed ones before it; 0.0 without any."""
    return PROOF_FACTOR * max((failures.age for failures in slot.failed.values() if failures.count), default=0)


def has_failing_digest(slot: SlotMemory) -> bool:
    """Return True if a life failed in the slot since one was last good in it."""
    return any(failures.count for failures in slot.failed.values())


def is_untried(slot: SlotMemory, digest: str) -> bool:
    """Return True if the slot's back-off says nothing about a digest: its last life was of another, and none failed."""
    return bool(slot.digest) and slot.digest != digest and not slot.failed.get(digest, SlotFailures()).count


def is_slot_broken(memory: Memory, name: str, settings: FailuresConfig) -> bool:
    """Return True if everything fails in the slot: several digests, or the only one there is, often enough."""
    failing = {digest: failures.count for digest, failures in memory.get_slot(name).failed.items() if failures.count}
    if len(failing) > 1:
        return True
    return any(
        count >= settings.quarantine_after
        and not any(
            has_other_good(memory, key, digest) for key, image in memory.images.items() if digest in image.records
        )
        for digest, count in failing.items()
    )


def has_other_good(memory: Memory, key: str, digest: str) -> bool:
    """Return True if the image, or a former one, has another digest that proved good and is not quarantined."""
    image = memory.get_image(key)
    goods = [*image.known_good, *(good for _, good in list_former_good_digests(memory, key))]
    return any(good.digest != digest and good.digest not in image.quarantine for good in goods)


def find_host_signs(memory: Memory, settings: FailuresConfig) -> HostSigns:
    """Return the signs of a host that fails as a whole."""
    broken = _list_newly_broken_slots(memory, settings)
    if len(broken) >= min(2, len(memory.slots)) > 0:
        return HostSigns.SLOTS
    return HostSigns.ONE_SLOT if broken else HostSigns.NO_SLOT


def _list_newly_broken_slots(memory: Memory, settings: FailuresConfig) -> list[str]:
    """Return the broken slots, except those that were broken before the last good life of the host began elsewhere."""
    well = max((good.life_started for image in memory.images.values() for good in image.known_good), default=0.0)
    return [
        name
        for name, slot in memory.slots.items()
        if slot.failing_since > well and is_slot_broken(memory, name, settings)
    ]


def count_host_failures(memory: Memory, settings: FailuresConfig) -> int:
    """Return the number of failed lives by which the host's wait rises: without its worst slot's, at least 1."""
    counts = [
        sum(failures.count for failures in memory.get_slot(name).failed.values())
        for name in _list_newly_broken_slots(memory, settings)
    ]
    others = sum(counts) - max(counts, default=0) if len(counts) > 1 else sum(counts) - settings.host_after + 1
    return max(1, others)


def must_host_wait(memory: Memory, settings: FailuresConfig) -> bool:
    """Return True if the failed lives look like the host's."""
    streak = HostStreak.LONG if memory.streak >= settings.host_after else HostStreak.SHORT
    return HOST_WAITS[find_host_signs(memory, settings), streak]


def find_standing(memory: Memory, image: ImageMemory, digest: str, slot_name: str, now: float) -> Standing:
    """Return the best that a digest has shown on this host, outside the slot that is being judged."""
    record = image.get_digest_record(digest, now)
    fails_at = max(
        [finding.age for finding in record.findings.values()]
        + [
            slot.failed[digest].age
            for slot in memory.slots.values()
            if digest in slot.failed and slot.failed[digest].count
        ]
        + [0]
    )
    if any(
        slot.proved and not slot.ended and slot.digest == digest and name != slot_name and now - slot.started > fails_at
        for name, slot in memory.slots.items()
    ):
        return Standing.LIVES
    promoted = not record.lived and any(good.digest == digest for good in image.known_good)  # by an older watchdog
    return Standing.PROVED if record.lived > fails_at or promoted else Standing.NEW


def judge_digest(
    memory: Memory,
    image: ImageMemory,
    comparison: Comparison,
    settings: FailuresConfig,
    now: float,
    *,
    others: Collection[str] = (),
) -> Blame:
    """Conclude on a digest that failed in a slot, now that another one has lived well there.

    Args:
        memory: The memory.
        image: The memory of the digest's image.
        comparison: The digest, the slot and the digest that lived well.
        settings: The settings of back-off and quarantine.
        now: Epoch seconds.
        others: Good digests of other images of the group, which are witnesses, too.
    """
    digest, slot_name = comparison.digest, comparison.slot
    slot = memory.get_slot(slot_name)
    good = {comparison.rival, *others, *(known.digest for known in image.known_good)} - {digest}
    unreliable = any(
        other in good and failures.failed_at and now - failures.failed_at <= WITNESS_MEMORY_S
        for other, failures in slot.failed.items()
    ) or any(
        other in good and failures.failed_at and not failures.count and now - failures.failed_at <= HOST_MEMORY_S
        for neighbour in memory.slots.values()
        for other, failures in neighbour.failed.items()
    )
    # slots that fail at the same time may have one cause outside: a finding counts if it is older than these failures
    found = image.get_digest_record(digest, now).findings
    findings = {name: finding for name, finding in found.items() if finding.found_at < slot.failing_since}
    earlier = Earlier.NONE
    if findings:
        earlier = Earlier.OTHER_SLOT if findings.keys() - {slot_name} else Earlier.SAME_SLOT
    failures = slot.failed[digest]
    since_failure = slot.started - failures.failed_at
    witness = Witness.LATE if since_failure + failures.age > COMPARISON_SPAN_S else Witness.RELIABLE
    if unreliable or since_failure > COMPARISON_GAP_S:
        witness = Witness.UNRELIABLE
    return BLAME_TABLE[
        witness,
        Lives.ENOUGH if failures.count >= settings.quarantine_after else Lives.FEW,
        find_standing(memory, image, digest, slot_name, now),
        earlier,
    ]


def note_finding(image: ImageMemory, digest: str, slot_name: str, finding: Finding) -> ImageMemory:
    """Return the image with a finding against a digest."""
    record = image.get_digest_record(digest, finding.found_at)
    record = replace(record, findings={**record.findings, slot_name: finding})
    return image.replace_digest_record(digest, record)


def record_good_life(record: DigestRecord, age: float, *, conclusive: bool) -> DigestRecord:
    """Return the record of a digest after a good life.

    Args:
        record: The record before.
        age: Seconds that the life has lasted.
        conclusive: True if it is older than the failed lives before it in its slot.
    """
    record = replace(record, lived=max(record.lived, int(age)))
    if not conclusive:
        return record
    kept = {name: finding for name, finding in record.findings.items() if age <= PROOF_FACTOR * finding.age}
    return replace(record, failures=0, findings=kept)


def begin_anew(slot: SlotMemory) -> SlotMemory:
    """Return the slot after a good life: the counts begin anew, the times of the failures are kept."""
    failed = {digest: replace(failures, count=0, short=0) for digest, failures in slot.failed.items()}
    return replace(slot, failed=failed, failing_since=0.0)


def find_doubting_slots(memory: Memory, digest: str, settings: FailuresConfig) -> list[str]:
    """Return the slots in which a digest fails and no other does, the one with most failed lives first."""
    counts = {
        name: slot.failed[digest].count
        for name, slot in memory.slots.items()
        if digest in slot.failed and slot.failed[digest].count and not is_slot_broken(memory, name, settings)
    }
    return sorted(counts, key=lambda name: (-counts[name], name))


def explain_avoidance(
    memory: Memory, image: ImageMemory, comparison: Comparison, settings: FailuresConfig, now: float
) -> str:
    """Return the reason for which a slot takes a rival before a better digest; "" if it does not."""
    digest, slot_name = comparison.digest, comparison.slot
    slot = memory.get_slot(slot_name)
    count = slot.failed.get(digest, SlotFailures()).count
    rival_count = slot.failed.get(comparison.rival, SlotFailures()).count
    if rival_count:  # both fail here, so the slot is broken; it takes them in turn, for one of them may be bad as well
        is_turn = count >= settings.quarantine_after * (rival_count + 1)
        return f"for comparison: {_format_lives(count)} of {digest[:19]} failed in this slot" if is_turn else ""
    doubting = find_doubting_slots(memory, digest, settings)
    enough = 1 if find_host_signs(memory, settings) is not HostSigns.NO_SLOT else settings.quarantine_after
    if count >= enough:
        return f"for comparison: {_format_lives(count)} of {digest[:19]} failed in this slot"
    if not doubting or slot_name == doubting[0]:
        return ""
    if find_standing(memory, image, digest, slot_name, now) is not Standing.NEW:
        return ""
    return f"{digest[:19]} fails in {doubting[0]} and has not lived well on this host yet"


def _format_lives(number: int) -> str:
    return format_count(number, "life", "lives")


def _format_failures(number: int) -> str:
    return f"{_format_lives(number)} failed{' in a row' if number > 1 else ''}"


def describe_evidence(memory: Memory, image: ImageMemory, digest: str, now: float) -> Iterator[str]:
    """Yield sentences about the evidence against a digest and for it, for people."""
    record = image.get_digest_record(digest, now)
    short = digest[:19]
    for name, slot in sorted(memory.slots.items()):
        failures = slot.failed.get(digest)
        if failures is None or not failures.count:
            continue
        others = [other[:19] for other, found in slot.failed.items() if other != digest and found.count]
        last = ", the last" if failures.count > 1 else ""
        yield f"against {short}: {_format_failures(failures.count)} in {name}{last}: {failures.sentence}"
        if others:
            yield f"  but {', '.join(others)} failed in {name} too, so the slot itself is suspected"
    for name, finding in sorted(record.findings.items()):
        lives, rival = _format_lives(finding.failed), finding.rival[:19]
        yield f"against {short}: {lives} failed in {name}, where {rival} then lived well"
    living = [
        name for name, slot in sorted(memory.slots.items()) if slot.proved and not slot.ended and slot.digest == digest
    ]
    if living:
        yield f"for {short}: it lives well in {', '.join(living)}"
    elif record.lived:
        yield f"for {short}: a life of it lasted {record.lived} s on this host"
