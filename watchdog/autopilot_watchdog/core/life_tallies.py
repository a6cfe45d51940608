"""Count the bad lives and the bad periods of payloads of a digest, for the comparisons of core/digest_rates.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from autopilot_watchdog.core.exit_verdict import GOOD, ExitVerdict
from autopilot_watchdog.core.memory import DigestRecord, PastLife, PayloadPeriod
from autopilot_watchdog.core.rate_tests import Tally

MAX_PAST_LIVES = 40  # of a digest that are remembered; so are periods of its payloads
SHORT_SHARE = 0.5  # of the usual length of the other digest's lives: a life that ends sooner by itself is short
MIN_PAYLOADS = 3  # of one life in one period; fewer tell nothing
FIRST_PERIODS = 3  # of a digest: if the first and another one are bad, its payloads fail since it came
MANY_FAILURES = 3  # one of so many payloads of the other digest failed at once: a user's broken jobs may have begun


class LifeEnd(StrEnum):
    """Kind of the end of a life that had proved good."""

    IN_ORDER = "in order"  # its lifetime was over, it was idle, or it was asked to drain
    COMPLETED = "completed"  # its jobs were over
    HEALTH = "health"  # its health checks failed
    ERROR = "error"  # any other error of its own


class Criterion(StrEnum):
    """Way in which a digest can do worse than another."""

    SHORT_LIVES = "short-lives"
    ERRORS = "errors"
    PAYLOADS = "payloads"


@dataclass(frozen=True, slots=True)
class LivingLife:
    """Life that goes on."""

    slot: str
    digest: str
    age: float  # seconds


def classify_end(end: ExitVerdict) -> LifeEnd | None:
    """Return the kind of a life's end; None if it says nothing: it never proved good, or was ended from outside."""
    if end.verdict != GOOD:
        return None
    if end.own_fault:
        return LifeEnd.HEALTH if end.code == "check-failed" else LifeEnd.ERROR
    if end.code == "completed":
        return LifeEnd.COMPLETED
    return LifeEnd.IN_ORDER if end.code in {"lifetime", "idle", "payloads", "drain", "ended"} else None


def add_life(record: DigestRecord, life: PastLife) -> DigestRecord:
    """Return the record of a digest with one more life."""
    return replace(record, lives=(*record.lives, life)[-MAX_PAST_LIVES:])


def add_period(record: DigestRecord, period: PayloadPeriod) -> DigestRecord:
    """Return the record of a digest with the payloads of one more life; those of one period are added up."""
    *earlier, last = record.periods or (period,)
    if not record.periods or last.begin < period.begin:
        return replace(record, periods=(*record.periods, period)[-MAX_PAST_LIVES:])
    last = replace(
        last,
        slots=last.slots + period.slots,
        bad=last.bad + period.bad,
        finished=last.finished + period.finished,
        failed=last.failed + period.failed,
    )
    return replace(record, periods=(*earlier, last))


def compute_short_age(before: DigestRecord) -> float:
    """Return the age in seconds below which a life is short, by the lives of the digest to compare with."""
    return SHORT_SHARE * median([life.age for life in before.lives] or [0])


def is_bad_life(life: PastLife, criterion: Criterion, short_s: float) -> bool:
    """Return True if a life is bad by a criterion.

    Args:
        life: The life.
        criterion: One of the criteria about lives.
        short_s: Seconds; a life that ends sooner by itself is short.
    """
    if criterion is Criterion.ERRORS:
        return life.end in (LifeEnd.ERROR, LifeEnd.HEALTH)
    return life.end != LifeEnd.IN_ORDER and life.age < short_s


def tally_lives(
    lives: Sequence[PastLife], living: Sequence[LivingLife], criterion: Criterion, short_s: float, together_s: float
) -> Tally:
    """Count the lives of a digest that have ended, and the time that all of them have run.

    Args:
        lives: The lives that have ended.
        living: The lives that go on.
        criterion: One of the criteria about lives.
        short_s: As for `is_bad_life`; of each life only so much counts for the criterion of short lives.
        together_s: Bad ends within so many seconds of the first of them count once.
    """
    bad = [life for life in lives if is_bad_life(life, criterion, short_s)]
    moments = sum(1 for _ in _list_moments(bad, together_s))
    ages = [*(float(life.age) for life in lives), *(life.age for life in living)]
    seconds = sum(min(age, short_s) for age in ages) if criterion is Criterion.SHORT_LIVES else sum(ages)
    return Tally(moments, moments + len(lives) - len(bad), seconds)


def _list_moments(lives: Sequence[PastLife], together_s: float) -> Iterator[float]:
    """Yield the first of the ends that are together, in order."""
    begin = None
    for ended in sorted(life.ended for life in lives):
        if begin is None or ended - begin > together_s:
            begin = ended
            yield ended


def find_worst_slot(lives: Sequence[PastLife], criterion: Criterion, short_s: float) -> str:
    """Return the slot with the most bad lives; "" if there is none."""
    counts = Counter(life.slot for life in lives if is_bad_life(life, criterion, short_s))
    return counts.most_common(1)[0][0] if counts else ""


def tally_periods(periods: Sequence[PayloadPeriod], slots: int) -> Tally:
    """Count the periods in which enough payloads ended to tell.

    Args:
        periods: The periods with payloads of a digest.
        slots: Number of the host's slots for the image. With several of them, one slot alone tells nothing.
    """
    known = _list_telling_periods(periods, slots)
    return Tally(sum(map(is_bad_period, known)), len(known))


def _list_telling_periods(periods: Sequence[PayloadPeriod], slots: int) -> list[PayloadPeriod]:
    return [period for period in periods if period.slots >= min(2, slots)]


def is_bad_period(period: PayloadPeriod) -> bool:
    """Return True if most payloads failed at once in most slots, and not only in one of several."""
    return 2 * period.bad > period.slots


def tally_new_periods(
    periods: Sequence[PayloadPeriod], former: Sequence[PayloadPeriod], slots: int, burst_s: float
) -> Tally:
    """Count the periods of a digest as `tally_periods` does, without bad ones that may be a user's.

    A user's broken jobs may last for days, and fail with any image. So bad periods in a row count once, unless the
    payloads of the digest fail since its first period. A row that began with the digest before does not count.

    Args:
        periods: The periods with payloads of the digest.
        former: Those of the digest before it.
        slots: Number of the host's slots for the image.
        burst_s: Seconds; the length of a period.
    """
    known = _list_telling_periods(periods, slots)
    failing_before = [period.begin for period in former if MANY_FAILURES * period.failed > period.finished]
    first = [is_bad_period(period) for period in known[:FIRST_PERIODS]]
    is_bad_since_begin = first[:1] == [True] and 2 * sum(first) > FIRST_PERIODS
    bad = good = 0
    is_in_row = is_row_of_both = False
    for period in known:
        if not is_bad_period(period):
            good += 1
            is_in_row = is_row_of_both = False
            continue
        is_row_of_both |= any(period.begin - burst_s <= begin <= period.begin for begin in failing_before)
        bad += not is_row_of_both and (is_bad_since_begin or not is_in_row)
        is_in_row = True
    return Tally(bad, bad + good)
