"""Simulate months of hosts whose images are equally good, or one of them slowly bad, and count the suspicions.

Every host is drawn from its number: its slots, the length of its lives, the frequency of errors, of outages that end
all lives at once, of broken slots, and of users whose payloads fail for hours. These misfortunes are the same for all
its digests, so a suspicion against a digest that is not bad is a false alarm. Only the comparison of digests is run, by
the real rules of core/digest_rates.py, so that thousands of months take minutes.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autopilot_watchdog.config.suspicion_config import SuspicionConfig
from autopilot_watchdog.core.digest_rates import HostScene, is_suspect, judge_image
from autopilot_watchdog.core.life_tallies import MIN_PAYLOADS, LifeEnd, LivingLife, add_life, add_period
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory, PastLife, PayloadPeriod

HOUR_S, DAY_S = 3600.0, 86400.0
MONTH_S = 30 * DAY_S
BEGIN_S = 1_800_000_000.0
PUSHES = 4  # in a month, after the first image
BAD_KINDS = ("short", "errors", "payloads")
LONG_BURSTS_PER_DAY = 1 / 30  # of a user whose payloads fail for days
MIN_LIFE_S = 120.0  # a life has proved good


@dataclass(frozen=True, slots=True)
class RateReport:
    """Result of the month of a host."""

    number: int  # of the host
    compared: int  # digests of which a whole comparison was possible
    false_alarms: tuple[str, ...]  # sentences of the suspicions against good digests
    bad_lives: int  # lives of the bad digest until it was suspected, or in all
    bad_hours: float  # from its push to that moment
    caught: bool


class RatedHost:
    """Host whose lives are drawn; only the comparison of its digests is real."""

    def __init__(self, chance: random.Random, settings: SuspicionConfig, bad_kind: str = "") -> None:
        """Draw the host; arguments as for `simulate_rates`."""
        self.chance, self.settings, self.bad_kind = chance, settings, bad_kind
        self.living: dict[str, tuple[str, float]] = {}  # by slot: digest, begin
        self.false_alarms: list[str] = []
        self.bad_lives = 0
        self.caught_at = 0.0
        self.slots = [f"wn-{number:02}" for number in range(1, chance.choice((1, 2, 4, 8)) + 1)]
        self.lifetime_s = chance.choice((2.0, 6.0, 12.0, 24.0)) * HOUR_S
        self.ends_with_work = chance.random() < 0.3  # lives end when their jobs are over, after any time
        self.error_hazard = 10 ** chance.uniform(-3.5, -1.0) / HOUR_S
        self.outages = self._draw_times(10 ** chance.uniform(-1.5, 0.0))
        self.broken_slot = chance.choice(self.slots) if len(self.slots) > 1 and chance.random() < 0.3 else ""
        broken = BEGIN_S + chance.uniform(0, MONTH_S)
        self.broken_time = (broken, broken + chance.uniform(1, 10) * DAY_S)
        self.payload_failures = 10 ** chance.uniform(-3, -0.7)
        self.payload_rate = 10 ** chance.uniform(-0.3, 1.5) / HOUR_S  # of one slot
        lasting = chance.uniform(1, 6) * HOUR_S
        self.bursts = [(begin, begin + chance.expovariate(1 / lasting)) for begin in self._draw_times(0.3)]
        self.bursts += [
            (begin, begin + chance.uniform(0.5, 8) * DAY_S) for begin in self._draw_times(LONG_BURSTS_PER_DAY)
        ]
        gap = MONTH_S / (PUSHES + 1)
        self.pushes = [BEGIN_S + (index + chance.uniform(0, 0.5)) * gap for index in range(PUSHES + 1)]
        self.pushes[0] = BEGIN_S
        self.digests = [f"sha256:{index:064x}" for index in range(PUSHES + 1)]
        self.bad = self.digests[2] if self.bad_kind else ""
        pushed = zip(self.digests, self.pushes, strict=True)
        self.image = ImageMemory(records={digest: DigestRecord(first_seen=at) for digest, at in pushed})

    def _draw_times(self, per_day: float) -> list[float]:
        """Draw moments of the month that come by chance."""
        times, at = [], BEGIN_S
        while (at := at + self.chance.expovariate(per_day / DAY_S)) < BEGIN_S + MONTH_S:
            times.append(at)
        return times

    def find_newest(self, now: float) -> str:
        """Return the newest digest that was pushed and is not suspect."""
        pushed = [digest for digest, at in zip(self.digests, self.pushes, strict=True) if at <= now]
        return next(digest for digest in reversed(pushed) if digest != self.bad or not self.caught_at)

    def run(self) -> None:
        """Run the month."""
        queue: list[tuple[float, str, str]] = []  # time, slot, kind of the end; a period's end has no slot
        for slot in self.slots:
            heapq.heappush(queue, self._start(slot, BEGIN_S))
        for index in range(1, int(MONTH_S / self.settings.burst)):
            heapq.heappush(queue, (BEGIN_S + index * self.settings.burst, "", ""))
        while queue and queue[0][0] < BEGIN_S + MONTH_S:
            now, slot, end = heapq.heappop(queue)
            if slot:
                digest, began = self.living[slot]
                life = PastLife(slot, now, int(now - began), end)
                self._update_record(digest, add_life(self.image.records[digest], life))
                self.bad_lives += digest == self.bad and not self.caught_at
                heapq.heappush(queue, self._start(slot, now))
            else:
                self._end_period(now)
            self._judge(now)

    def _start(self, slot: str, now: float) -> tuple[float, str, str]:
        """Start a life; return its end."""
        digest, chance = self.find_newest(now), self.chance
        self.living[slot] = (digest, now)
        ends: list[tuple[float, LifeEnd]] = [(chance.expovariate(self.error_hazard), LifeEnd.ERROR)]
        if self.ends_with_work:
            ends.append((chance.expovariate(1 / self.lifetime_s), LifeEnd.COMPLETED))
        else:
            ends.append((self.lifetime_s * chance.uniform(0.9, 1.1), LifeEnd.IN_ORDER))
        ends += [(at - now, LifeEnd.HEALTH) for at in self.outages if at > now][:1]
        if slot == self.broken_slot and self.broken_time[0] <= now < self.broken_time[1]:
            ends.append((chance.uniform(0.05, 0.3) * self.lifetime_s, LifeEnd.ERROR))
        if digest == self.bad and self.bad_kind == "short":
            ends.append((chance.uniform(0.02, 0.3) * self.lifetime_s, LifeEnd.COMPLETED))
        if digest == self.bad and self.bad_kind == "errors":
            ends.append((chance.uniform(0.1, 0.9) * self.lifetime_s, LifeEnd.HEALTH))
        age, end = min(ends)
        return now + max(MIN_LIFE_S, age), slot, str(end)

    def _end_period(self, now: float) -> None:
        """Record the payloads of the period that ends now, by the digest that each slot has."""
        begin = now - self.settings.burst
        share = sum(max(0.0, min(end, now) - max(at, begin)) for at, end in self.bursts) / self.settings.burst
        for slot in self.slots:
            digest, _ = self.living[slot]
            is_broken = slot == self.broken_slot and self.broken_time[0] <= now < self.broken_time[1]
            is_bad = is_broken or (digest == self.bad and self.bad_kind == "payloads")
            failing = 0.9 if is_bad else min(0.95, self.payload_failures + share)
            finished = int(self.payload_rate * self.settings.burst * self.chance.uniform(0.2, 1.8))
            failed = sum(self.chance.random() < failing for _ in range(min(finished, 200)))
            finished = min(finished, 200)
            tells = finished >= MIN_PAYLOADS
            period = PayloadPeriod(begin, int(tells), int(tells and 2 * failed > finished), finished, failed)
            if finished:
                self._update_record(digest, add_period(self.image.records[digest], period))

    def _update_record(self, digest: str, record: DigestRecord) -> None:
        self.image = self.image.replace_digest_record(digest, record)

    def _judge(self, now: float) -> None:
        living = [LivingLife(slot, digest, now - began) for slot, (digest, began) in self.living.items()]
        rivals = {digest: record for digest, record in self.image.records.items() if record.lives}
        before = self.image
        self.image = judge_image(before, rivals, self.settings, HostScene(living, len(self.slots), now))
        for digest, record in self.image.records.items():
            if not is_suspect(record) or is_suspect(before.records[digest]):
                continue
            if digest != self.bad:
                self.false_alarms += [found.sentence for found in record.suspicions.values()]
            elif not self.caught_at:
                self.caught_at = now


def simulate_rates(number: int, settings: SuspicionConfig, bad_kind: str = "") -> RateReport:
    """Simulate the month of one host.

    Args:
        number: The host's number: equal numbers give equal hosts.
        settings: The settings of the comparison.
        bad_kind: One of BAD_KINDS for a digest that is slowly bad; "" for equally good ones.
    """
    host = RatedHost(random.Random(number), settings, bad_kind)
    host.run()
    good = [record for digest, record in host.image.records.items() if digest != host.bad]
    compared = sum(len(record.lives) >= settings.lives for record in good[1:])
    end = host.caught_at or BEGIN_S + MONTH_S
    hours = (end - host.pushes[2]) / HOUR_S
    return RateReport(number, compared, tuple(host.false_alarms), host.bad_lives, hours, bool(host.caught_at))


def sum_up_rates(reports: Iterable[RateReport]) -> Mapping[str, float]:
    """Return the figures of many hosts."""
    known = list(reports)
    lives = sorted(report.bad_lives for report in known if report.caught)
    hours = sorted(report.bad_hours for report in known if report.caught)
    return {
        "host_months": len(known),
        "digests_compared": sum(report.compared for report in known),
        "false_alarms": sum(len(report.false_alarms) for report in known),
        "bad_digests": sum(report.bad_lives > 0 for report in known),
        "caught": len(lives),
        "lives_median": lives[len(lives) // 2] if lives else 0,
        "hours_median": hours[len(hours) // 2] if hours else 0.0,
    }
