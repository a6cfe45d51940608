"""Suspect a digest whose lives or payloads do worse than those of the good digest before it on the same host.

Theory of operation. core/evidence.py judges lives that fail. This judges a digest that is slowly bad: its lives prove
good and then are short, or end with an error hours later, or their payloads fail at once. Each criterion compares it
with the last good digest before it, by the tests of core/rate_tests.py. Bad ends at the same time count once, because
they may have one cause outside. The slot with most of them is left out, because it may be broken. Payloads that fail in
a row count once if their user may be the cause. The digest is then suspect, and no more: the whole host may have become
worse. The lives of the other digest that begin after that decide: if they are good, the suspicion is confirmed. If they
are as bad, it is lifted and does not come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from autopilot_watchdog.config.suspicion_config import SuspicionConfig
from autopilot_watchdog.core.life_tallies import (
    MAX_PAST_LIVES,
    Criterion,
    LifeEnd,
    LivingLife,
    compute_short_age,
    find_worst_slot,
    is_bad_life,
    tally_lives,
    tally_new_periods,
    tally_periods,
)
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory, PastLife, Suspicion
from autopilot_watchdog.core.rate_tests import Tally, compute_look_level, compute_share_tail, is_worse
from autopilot_watchdog.timestamps import format_age

PROOF_FACTOR = 2.0  # so many times as old as the bad lives is a living one of the other digest that counts as good
CONFIRMATION_LEVEL = 0.05  # of the comparison with the other digest's lives since the suspicion
LIFTING_CHANCE = 0.2  # at this chance and above, the other digest does no better since then
MIN_BAD_RIVALS = 2  # bad lives or periods of the other digest since then, for that


class SuspicionVerdict(StrEnum):
    """State of a suspicion."""

    OPEN = "open"  # the other digest has not been tried enough since
    CONFIRMED = "confirmed"  # the other digest does well since
    LIFTED = "lifted"  # the other digest does as badly since


@dataclass(frozen=True, slots=True)
class HostScene:
    """Facts about the host that a comparison needs beside the records of the digests."""

    living: Sequence[LivingLife]
    slots: int  # of the image
    now: float


def is_suspect(record: DigestRecord) -> bool:
    """Return True if there is a suspicion against a digest that was not lifted."""
    return any(found.verdict != SuspicionVerdict.LIFTED for found in record.suspicions.values())


def list_suspicions(record: DigestRecord) -> Iterator[Suspicion]:
    """Yield the suspicions against a digest that were not lifted."""
    return (found for found in record.suspicions.values() if found.verdict != SuspicionVerdict.LIFTED)


@dataclass(frozen=True, slots=True)
class DigestComparison:
    """Comparison with the digest before, by one criterion."""

    criterion: Criterion
    before: DigestRecord  # decides which lives are short
    settings: SuspicionConfig
    scene: HostScene

    @property
    def short_s(self) -> float:
        """Age in seconds; a life that ends sooner by itself is short."""
        return compute_short_age(self.before)

    def is_bad(self, life: PastLife) -> bool:
        """Return True if a life is bad by the criterion."""
        return is_bad_life(life, self.criterion, self.short_s)

    def count(self, record: DigestRecord) -> Tally:
        """Count the lives, or periods, of a digest that are over."""
        if self.criterion is Criterion.PAYLOADS:
            return tally_periods(record.periods, self.scene.slots)
        return tally_lives(record.lives, (), self.criterion, self.short_s, self.settings.together)

    def count_cautiously(self, digest: str, record: DigestRecord) -> Tally:
        """Count as `count` does, with the time of living lives, without what one slot or one user may have caused."""
        if self.criterion is Criterion.PAYLOADS:
            return tally_new_periods(record.periods, self.before.periods, self.scene.slots, self.settings.burst)
        worst = find_worst_slot(record.lives, self.criterion, self.short_s) if self.scene.slots > 1 else ""
        lives = [life for life in record.lives if life.slot != worst]
        living = [life for life in self.scene.living if life.digest == digest and life.slot != worst]
        return tally_lives(lives, living, self.criterion, self.short_s, self.settings.together)

    def count_since(self, since: float, rival: str, record: DigestRecord) -> Tally:
        """Count the observations of the digest before that began after a moment.

        Args:
            since: Epoch seconds.
            rival: The digest before.
            record: The record of the digest that is suspect: a living life that is much older than its bad ones counts.
        """
        before = replace(
            self.before,
            lives=tuple(life for life in self.before.lives if life.ended - life.age >= since),
            periods=tuple(period for period in self.before.periods if period.begin >= since),
        )
        tally = self.count(before)
        if self.criterion is Criterion.PAYLOADS:
            return tally
        proof_s = PROOF_FACTOR * max((life.age for life in record.lives if self.is_bad(life)), default=0)
        ages = [life.age for life in self.scene.living if life.digest == rival]
        return replace(tally, total=tally.total + sum(proof_s <= age <= self.scene.now - since for age in ages))

    def describe(self, record: DigestRecord, rival: str) -> str:
        """Return a sentence with the figures of both digests."""
        sides = (record, self.before)
        if self.criterion is Criterion.PAYLOADS:
            new, former = (
                f"{sum(period.failed for period in side.periods)} of {sum(period.finished for period in side.periods)}"
                for side in sides
            )
        else:
            new, former = (f"{sum(map(self.is_bad, side.lives))} of {len(side.lives)}" for side in sides)
        figures = f"{new} against {former} with the former image {rival[:19]}"
        match self.criterion:
            case Criterion.PAYLOADS:
                return f"payloads end with an error within a minute: {figures}"
            case Criterion.SHORT_LIVES:
                return f"lives are short: {figures} (they end by themselves within {format_age(self.short_s)})"
            case Criterion.ERRORS:
                health = sum(life.end == LifeEnd.HEALTH for life in record.lives)
                return f"lives end with an error: {figures}{f' ({health} by failed health checks)' if health else ''}"


def judge_image(
    image: ImageMemory, rivals: Mapping[str, DigestRecord], settings: SuspicionConfig, scene: HostScene
) -> ImageMemory:
    """Return the image with the suspicions against its digests as they are now.

    Args:
        image: The memory of the image.
        rivals: The records of the digests that are good for its slots, by digest.
        settings: The settings of the comparison.
        scene: The host.
    """
    for digest, record in image.records.items():
        suspicions = dict(record.suspicions)
        for criterion in Criterion:
            found = suspicions.get(criterion)
            if found is None:
                is_judged = digest not in image.quarantine and _has_enough(record, criterion, settings)
                if is_judged:
                    found = _find_suspicion(digest, record, criterion, rivals=rivals, settings=settings, scene=scene)
            elif found.rival in rivals and found.verdict != SuspicionVerdict.LIFTED:
                comparison = DigestComparison(criterion, rivals[found.rival], settings, scene)
                found = _review(found, record, comparison)
            if found is not None:
                suspicions[criterion] = found
        if suspicions != record.suspicions:
            image = image.replace_digest_record(digest, replace(record, suspicions=suspicions))
    return image


def _has_enough(record: DigestRecord, criterion: Criterion, settings: SuspicionConfig) -> bool:
    """Return True if a digest has enough observations to be compared, and not so many that it is established."""
    observations = record.periods if criterion is Criterion.PAYLOADS else record.lives
    return settings.lives <= len(observations) < MAX_PAST_LIVES


def _find_suspicion(
    digest: str,
    record: DigestRecord,
    criterion: Criterion,
    *,
    rivals: Mapping[str, DigestRecord],
    settings: SuspicionConfig,
    scene: HostScene,
) -> Suspicion | None:
    """Compare a digest with the latest good one before it that has enough lives."""
    for rival, before in sorted(rivals.items(), key=lambda item: -item[1].first_seen):
        if rival == digest or before.first_seen >= record.first_seen or is_suspect(before):
            continue
        if len(before.periods if criterion is Criterion.PAYLOADS else before.lives) < settings.former_lives:
            continue
        comparison = DigestComparison(criterion, before, settings, scene)
        former = comparison.count(before)
        if former.total < settings.former_lives:
            continue
        new = comparison.count_cautiously(digest, record)
        if new.total < settings.lives or not new.bad:
            return None
        level = compute_look_level(settings.false_alarms / len(Criterion), settings.lives, new.total)
        is_found = is_worse(new, former, level)
        return Suspicion(scene.now, comparison.describe(record, rival), rival) if is_found else None
    return None


def _review(found: Suspicion, record: DigestRecord, comparison: DigestComparison) -> Suspicion:
    """Return a suspicion with its verdict by the lives of the other digest that began after it."""
    new = comparison.count(record)
    other = comparison.count_since(found.since, found.rival, record)
    if not new.total or not other.total:
        return found
    chance = compute_share_tail(new, other)
    if chance <= CONFIRMATION_LEVEL:
        return replace(found, verdict=str(SuspicionVerdict.CONFIRMED))
    if chance >= LIFTING_CHANCE and other.bad >= MIN_BAD_RIVALS:
        return replace(found, verdict=str(SuspicionVerdict.LIFTED))
    return found
