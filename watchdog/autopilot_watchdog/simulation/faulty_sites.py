"""Simulate months of sites with broken slots, hosts, images and networks, and count the digests that are blamed.

Every site is drawn from its number: its hosts, its pushes, and faults of one kind or of two at the same time. A fault
lasts from seconds to days. In flaky sites some faults let only every second life fail, so no rule can be sure after
a few lives. A quarantine of a digest that is not broken is a wrong one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from autopilot_watchdog.config.config_model import Config, ConsulConfig
from autopilot_watchdog.core.slot_actions import RemoveContainer, Start
from autopilot_watchdog.even_hash import hash_to_fraction
from autopilot_watchdog.simulation.simulated_fleet import SimulatedFleet
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry

DAY_S = 86400.0
MONTH_S = 30 * DAY_S
BEGIN_S = 1_800_000_000.0
PUSHES = 4  # in a month, after the first image
FAULT_KINDS = ("slot", "host", "image", "network")
SITE_KINDS: tuple[tuple[str, ...], ...] = (
    *((kind,) for kind in FAULT_KINDS),
    *itertools.combinations(FAULT_KINDS, 2),
)
LIFETIME_S, JITTER_S = 12 * 3600.0, 4 * 3600.0
LONG_WAIT_S = 60.0  # of a renewal


@dataclass(frozen=True, slots=True)
class StartFault:
    """Time of failing lives in some slots, with any digest."""

    slots: frozenset[str]  # with their host: HOST/SLOT; empty: all
    begin: float
    end: float
    age: float  # seconds that a failing life lasts
    share: float = 1.0  # of the lives that fail

    def find_age(self, slot: str, started: float) -> float | None:
        """Return the age at which a life that starts then fails; None if it does not."""
        if not self.begin <= started < self.end or (self.slots and slot not in self.slots):
            return None
        return self.age if hash_to_fraction(slot, started) < self.share else None


@dataclass(frozen=True, slots=True)
class SiteReport:
    """Result of the month of a site."""

    number: int  # of the site
    kinds: tuple[str, ...]  # of its faults
    hosts: int
    wrong: tuple[str, ...]  # a sentence for each quarantine of a good digest
    tried: int  # hosts that started a bad image
    caught: int  # those that quarantined it
    lives: tuple[int, ...]  # of a bad image on each host that caught it by its own evidence
    seconds: tuple[float, ...]  # from its first start to its quarantine on each of these hosts
    renewals: int = 0  # in slots beside a broken one; counted only if nothing else is broken in the site
    delayed: int = 0  # those of them that waited longer than LONG_WAIT_S


class WatchedHost(SimulatedHost):
    """Host that notes each quarantine with its time."""

    quarantines: dict[str, tuple[float, str, str]]  # by digest: time, source and reason of the first

    def run_pass(self, now: float) -> float | None:
        """Run one pass and note new quarantines."""
        due = super().run_pass(now)
        for image in self.memory.images.values():
            for digest, entry in image.quarantine.items():
                self.quarantines.setdefault(digest, (now, entry.source, entry.reason))
        return due


def simulate_site(number: int, config: Config, *, flaky: bool = False) -> SiteReport:
    """Simulate the month of one site.

    Args:
        number: The site's number: equal numbers give equal sites, and neighbours other kinds of faults.
        config: The configuration of its hosts, with one group of slots; its count and host are drawn.
        flaky: True if some faults let only every second life fail.
    """
    chance, kinds = random.Random(number), SITE_KINDS[number % len(SITE_KINDS)]
    digests = [f"sha256:{digit:064x}" for digit in range(PUSHES + 1)]
    pushes = [(0.0, digests[0])]
    pushes += [
        (BEGIN_S + (index * 7 + chance.uniform(1, 6)) * DAY_S, digest) for index, digest in enumerate(digests[1:])
    ]
    good = DigestBehaviour(LIFETIME_S, JITTER_S, writes_last_words=chance.random() < 0.7)
    behaviours = dict.fromkeys(digests, good)
    bad = chance.choice(digests[1:]) if "image" in kinds else ""
    if bad:
        behaviours[bad] = _draw_bad_image(chance)
    registry = SimulatedRegistry(pushes, behaviours=behaviours)
    count = chance.choice((1, 2, 4))
    consul = ConsulConfig() if chance.random() < 0.5 else None
    # the site's number is in the names, because lifetimes and turns in the rings are drawn from them
    names = [f"s{number}h{index}" for index in range(chance.choice((1, 2, 3)))]
    group = replace(config.slots[0], count=count)
    faults = _draw_faults(chance, kinds, names, count)
    if flaky:
        faults = [replace(fault, share=0.5) if chance.random() < 0.3 else fault for fault in faults]
    hosts = [_build_host(replace(config, slots=(group,), host=name, consul=consul), registry, faults) for name in names]
    SimulatedFleet(hosts, BEGIN_S).run_until(BEGIN_S + MONTH_S)
    report = _report(number, kinds, hosts, bad)
    if kinds != ("slot",):
        return report
    waits = [wait for host in hosts for wait in _list_waits(host, faults)]
    return replace(report, renewals=len(waits), delayed=sum(wait > LONG_WAIT_S for wait in waits))


def _draw_bad_image(chance: random.Random) -> DigestBehaviour:
    """Draw an image that fails by itself: at once, after it was good, or with an end that says nothing."""
    age = 10 ** chance.uniform(0, 2)
    kind = chance.choice(("fails", "fails", "good before", "says nothing"))
    if kind == "good before":
        return DigestBehaviour(LIFETIME_S, JITTER_S, good_after=age / 3, fails_after=age)
    if kind == "says nothing":
        return DigestBehaviour(LIFETIME_S, JITTER_S, fails_after=age, exit_code=255, writes_last_words=False)
    return DigestBehaviour(LIFETIME_S, JITTER_S, fails_after=age, writes_last_words=chance.random() < 0.5)


def _draw_faults(chance: random.Random, kinds: tuple[str, ...], hosts: list[str], count: int) -> list[StartFault]:
    faults: list[StartFault] = []
    slots = {host: [f"{host}/{number}" for number in range(1, count + 1)] for host in hosts}
    for host in hosts:
        if "slot" in kinds:
            broken = frozenset({chance.choice(slots[host])})
            faults += [_draw_fault(chance, broken, 3 * DAY_S) for _ in range(3)]
        if "host" in kinds:
            faults += [_draw_fault(chance, frozenset(slots[host]), DAY_S) for _ in range(3)]
    if "network" in kinds:
        faults += [_draw_fault(chance, frozenset(), DAY_S / 2) for _ in range(4)]
    return faults


def _draw_fault(chance: random.Random, slots: frozenset[str], longest: float) -> StartFault:
    """Draw a fault that lasts from 10 s to `longest` seconds, any order of magnitude."""
    begin, age = BEGIN_S + chance.uniform(0, MONTH_S), 10 ** chance.uniform(0, 3)
    return StartFault(slots, begin, begin + 10 * (longest / 10) ** chance.random(), age)


def _build_host(config: Config, registry: SimulatedRegistry, faults: list[StartFault]) -> WatchedHost:
    numbers = {name: number for name, (_, number) in config.map_slots_to_groups().items()}

    def find_fault(slot: str, digest: str, started: float) -> float | None:
        ages = [fault.find_age(f"{config.host}/{numbers[slot]}", started) for fault in faults]
        return min((age for age in ages if age is not None), default=None)

    host = WatchedHost(config, registry, staggered=True, find_fault=find_fault)
    host.quarantines = {}
    return host


def _report(number: int, kinds: tuple[str, ...], hosts: list[WatchedHost], bad: str) -> SiteReport:
    wrong: list[str] = []
    lives: list[int] = []
    seconds: list[float] = []
    tried = caught = 0
    for host in hosts:
        for digest, (at, source, reason) in host.quarantines.items():
            if digest != bad:
                wrong.append(
                    f"{host.config.host} on day {(at - BEGIN_S) / DAY_S:.2f} ({source}): {digest[-4:]}: {reason}"
                )
        starts = [at for at, action in host.executed_actions if isinstance(action, Start) and action.digest == bad]
        tried += bool(starts)
        entry = host.quarantines.get(bad)
        caught += bool(starts and entry)
        if starts and entry and entry[1] in ("host", "shared"):
            lives.append(sum(at <= entry[0] for at in starts))
            seconds.append(entry[0] - starts[0])
    return SiteReport(number, kinds, len(hosts), tuple(wrong), tried, caught, tuple(lives), tuple(seconds))


def _list_waits(host: WatchedHost, faults: list[StartFault]) -> Iterator[float]:
    """Yield the seconds that the renewals waited in the slots that are never broken."""
    broken = {slot for fault in faults for slot in fault.slots}
    numbers = {name: number for name, (_, number) in host.config.map_slots_to_groups().items()}
    ended: dict[str, float] = {}
    for at, action in host.executed_actions:
        if isinstance(action, RemoveContainer):
            ended[action.slot] = at
        elif isinstance(action, Start) and action.slot in ended:
            wait = at - ended.pop(action.slot)
            if f"{host.config.host}/{numbers[action.slot]}" not in broken:
                yield wait


def sum_up(reports: list[SiteReport]) -> Mapping[str, float]:
    """Return the figures of many sites: host-months, wrong quarantines, and the bad images' fate."""
    lives = sorted(count for report in reports for count in report.lives)
    seconds = sorted(second for report in reports for second in report.seconds)
    return {
        "host_months": sum(report.hosts for report in reports),
        "wrong_quarantines": sum(len(report.wrong) for report in reports),
        "renewals_beside_broken_slots": sum(report.renewals for report in reports),
        "renewals_delayed": sum(report.delayed for report in reports),
        "bad_images_tried": sum(report.tried for report in reports),
        "bad_images_caught": sum(report.caught for report in reports),
        "lives_median": lives[len(lives) // 2] if lives else 0,
        "lives_worst": max(lives, default=0),
        "minutes_median": seconds[len(seconds) // 2] / 60 if seconds else 0.0,
        "minutes_worst": max(seconds, default=0.0) / 60,
    }
