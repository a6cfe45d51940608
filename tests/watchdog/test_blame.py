"""The watchdog blames the slot, the host or the image by comparisons, in virtual time with the default waits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from itertools import pairwise, product
from pathlib import Path

import pytest
from autopilot_watchdog.cli.simulate import simulate
from autopilot_watchdog.config.config_model import FailuresConfig
from autopilot_watchdog.core.blame import (
    BLAME_TABLE,
    FLEET_TABLE,
    HOST_WAITS,
    Blame,
    Earlier,
    HostSigns,
    HostStreak,
    Lives,
    Quorum,
    Standing,
    Witness,
)
from autopilot_watchdog.core.exit_verdict import judge_exit
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container, LastWords
from autopilot_watchdog.core.quarantine import record_end
from autopilot_watchdog.core.slot_actions import Start
from autopilot_watchdog.simulation.faulty_sites import SITE_KINDS, simulate_site
from autopilot_watchdog.simulation.simulated_fleet import SimulatedFleet
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry
from click.testing import CliRunner

from tests.watchdog.scenes import (
    BEGIN,
    IMAGE,
    KEY,
    A,
    B,
    C,
    build_config,
    build_failing_behaviour,
    build_host,
    run_passes,
)

pytestmark = pytest.mark.slow

HOUR, DAY = 3600.0, 86400.0
FindFault = Callable[[str, str, float], float | None]
TEXT = (Path(__file__).parents[2] / "docs/watchdog.md").read_text()


def list_starts(host: SimulatedHost, digest: str, slot: str = "") -> list[float]:
    """Return the virtual seconds at which lives of a digest started, in one slot or in any."""
    return [
        at - BEGIN
        for at, action in host.executed_actions
        if isinstance(action, Start) and action.digest == digest and slot in ("", action.slot)
    ]


def break_slots(
    names: Collection[str], begin: float, end: float = math.inf, age: float = 8.0
) -> Callable[[str, str, float], float | None]:
    """Let every life fail at an age in seconds that starts in these slots during a time."""
    return lambda slot, digest, started: age if slot in names and begin <= started < end else None


def test_tables_are_whole() -> None:
    """Every case of the three tables has a conclusion, and no slot condemns that is unreliable or saw few lives."""
    assert BLAME_TABLE.keys() == set(product(Witness, Lives, Standing, Earlier))
    assert HOST_WAITS.keys() == set(product(HostSigns, HostStreak))
    assert FLEET_TABLE.keys() == set(product(Quorum, Quorum))
    for (witness, lives, standing, earlier), blame in BLAME_TABLE.items():
        if blame is Blame.IMAGE:
            assert witness is not Witness.UNRELIABLE and lives is Lives.ENOUGH
            assert (witness, standing) == (Witness.RELIABLE, Standing.NEW) or earlier is not Earlier.NONE


def test_tables_are_documented() -> None:
    """The reference has the conclusion of every case of the tables."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| ")
    ]
    for case, blame in BLAME_TABLE.items():
        found = next(
            row[4] for row in rows if len(row) == 5 and all(c in ("any", v) for c, v in zip(row[:4], case, strict=True))
        )
        assert found == blame, case
    for signs, streak in HOST_WAITS:
        waits = "waits" if HOST_WAITS[signs, streak] else "goes on"
        assert [signs, streak, waits] in [row[:3] for row in rows]
    for (condemning, well), verdict in FLEET_TABLE.items():
        assert [condemning, well, verdict] in [row[:3] for row in rows]


@pytest.mark.parametrize("count", [1, 4])
def test_broken_slot_condemns_nothing(count: int) -> None:
    """In ten days a slot with a broken scratch condemns no image, and its neighbours take the newest."""
    registry = SimulatedRegistry([(0, A), (BEGIN + DAY, B), (BEGIN + 5 * DAY, C)])
    host = build_host(
        registry, build_config(count=count), find_fault=break_slots({"wn-01"}, BEGIN + 10), staggered=True
    )
    fleet = SimulatedFleet([host], BEGIN)
    fleet.run_until(BEGIN + 10 * DAY)
    assert host.memory.counts.get("quarantines", 0) == 0
    assert {container.digest for container in host.engine.list_alive() if container.slot != "wn-01"} <= {C}
    assert "digests fail in this slot, so look at the slot itself" in host.reasons["wn-01"].sentence


@pytest.mark.parametrize("broken", [{"wn-01"}, {"wn-01", "wn-02"}], ids=["one", "two"])
@pytest.mark.parametrize("count", [4, 16])
def test_broken_slots_hold_no_other_back(count: int, broken: set[str]) -> None:
    """Every renewal of the healthy slots starts at once, while one slot fails for weeks, or two from one moment on."""
    registry = SimulatedRegistry([(0, A), (BEGIN + DAY, B)])
    faults = break_slots(broken, BEGIN + 2 * DAY)
    host = build_host(registry, build_config(count=count), find_fault=faults, staggered=True)
    SimulatedFleet([host], BEGIN).run_until(BEGIN + 6 * DAY)
    lost = {name: 0.0 for name in host.memory.slots}
    ended: dict[str, float] = {}
    for at, action in host.executed_actions:
        if type(action).__name__ == "RemoveContainer":
            ended[action.slot] = at  # type: ignore[union-attr]
        if isinstance(action, Start) and action.slot in ended:
            lost[action.slot] = max(lost[action.slot], at - ended.pop(action.slot))
    assert max(wait for name, wait in lost.items() if name not in broken) < 1


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("age", [1.0, 20.0, 90.0])
def test_bad_image_is_caught_after_three_lives(count: int, age: float) -> None:
    """A new image that fails everywhere costs three lives of one slot, and is quarantined when the good one lives."""
    registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)], behaviours=build_failing_behaviour(B, age))
    host = build_host(registry, build_config(count=count))
    run_passes(host, BEGIN, 1200)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 1200, 0)
    run_passes(host, BEGIN + 1200, 900)
    assert len(list_starts(host, B)) == 3
    assert host.memory.get_image(KEY).quarantine[B].confirmed
    assert "then lived well" in host.memory.get_image(KEY).quarantine[B].reason
    run_passes(host, BEGIN + 2100, 3 * DAY)
    assert len(list_starts(host, B)) == 3


@pytest.mark.parametrize("count", [1, 4])
def test_outage_that_ends_before_the_comparison_condemns_no_new_image(count: int) -> None:
    """A new image whose lives fail slowly in an outage is not blamed, whenever in its third life the outage ends."""
    slots = {f"wn-{number:02}" for number in range(1, count + 1)}
    for length in range(600, 2400, 100):
        registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)])
        faults = break_slots(slots, BEGIN + HOUR, BEGIN + HOUR + length, age=600.0)
        host = build_host(registry, build_config(count=count), find_fault=faults)
        run_passes(host, BEGIN, HOUR)
        host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + HOUR, 0)
        run_passes(host, BEGIN + HOUR, 2 * HOUR)
        assert not host.memory.get_image(KEY).quarantine, length
        for container in host.engine.list_alive():
            host.engine.end_container(container.id, BEGIN + 3 * HOUR, 0)
        run_passes(host, BEGIN + 3 * HOUR, HOUR)
        assert {container.digest for container in host.engine.list_alive()} == {B}, length


@pytest.mark.parametrize("good_after", [120.0, 3600.0])
def test_image_that_fails_slowly_is_caught_by_its_second_comparison(good_after: float) -> None:
    """A new image whose lives fail after ten minutes is quarantined when a good one lives in its place once more."""
    bad = DigestBehaviour(fails_after=600.0, good_after=good_after)
    registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)], behaviours={B: bad})
    host = build_host(registry, build_config(count=1))
    run_passes(host, BEGIN, HOUR)
    for hours, quarantined in ((1, set[str]()), (4, {B})):
        host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + hours * HOUR, 0)
        run_passes(host, BEGIN + hours * HOUR, 3 * HOUR)
        assert list_quarantines(host).keys() == quarantined
    assert len(list_starts(host, B)) == 6


def test_bad_image_beside_a_broken_slot_is_caught() -> None:
    """A bad image is quarantined by the healthy slots, though one slot fails with every digest."""
    registry = SimulatedRegistry([(0, A), (BEGIN + DAY, B)], behaviours=build_failing_behaviour(B, 5.0))
    host = build_host(registry, build_config(count=4), find_fault=break_slots({"wn-01"}, BEGIN + 10), staggered=True)
    SimulatedFleet([host], BEGIN).run_until(BEGIN + 3 * DAY)
    assert host.memory.get_image(KEY).quarantine.keys() == {B}
    assert sum(len(list_starts(host, B, f"wn-0{number}")) for number in (2, 3, 4)) == 3


def test_failing_reboot_condemns_nothing() -> None:
    """When every slot fails for a time after a reboot, no image is blamed, and afterwards all slots run the newest."""
    for length in range(4, 100, 8):
        registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)])
        back = BEGIN + 2 * HOUR
        slots = {f"wn-{number:02}" for number in range(1, 9)}
        host = build_host(registry, build_config(count=8), find_fault=break_slots(slots, back, back + length))
        run_passes(host, BEGIN, HOUR)
        for container in host.engine.list_alive():
            host.engine.end_container(container.id, BEGIN + HOUR, 255)
        run_passes(host, back, 3 * HOUR)
        assert not host.memory.get_image(KEY).quarantine, length
        assert len(host.engine.list_alive()) == 8
        assert B in {container.digest for container in host.engine.list_alive()}, length


@pytest.mark.parametrize("later", [5, 21])
def test_short_outage_condemns_no_proved_image(later: int) -> None:
    """Two slots that fail in one outage, which ends just before the comparison, condemn no digest that lives well."""
    for length in range(60, 200, 10):
        registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)])
        begin = BEGIN + 2 * HOUR
        slots = {f"wn-{number:02}" for number in range(1, 5)}
        faults = break_slots(slots, begin, begin + length, age=45.0)
        host = build_host(registry, build_config(count=4), find_fault=faults)
        run_passes(host, BEGIN, HOUR)
        for container in host.engine.list_alive():
            host.engine.end_container(container.id, BEGIN + HOUR, 0)
        run_passes(host, BEGIN + HOUR, HOUR)
        assert {container.digest for container in host.engine.list_alive()} == {B}
        first, second = host.engine.list_alive()[:2]
        host.engine.end_container(first.id, begin, 0)
        run_passes(host, begin, later)
        host.engine.end_container(second.id, begin + later, 0)
        run_passes(host, begin + later, HOUR)
        assert not host.memory.get_image(KEY).quarantine, length
        assert {container.slot for container in host.engine.list_alive()} == slots


@pytest.mark.parametrize(
    ("exit_code", "reason", "words"),
    [(255, "", False), (143, "", False), (0, "completed", True), (1, "preflight", True)],
    ids=["255", "143", "completed", "preflight"],
)
def test_short_neutral_lives_count(exit_code: int, reason: str, words: bool) -> None:
    """Ends that say nothing, soon and again and again, are failures; a gate that waits for something outside is not."""
    bad = DigestBehaviour(fails_after=1.0, exit_code=exit_code, reason=reason, writes_last_words=words)
    registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)], behaviours={B: bad})
    host = build_host(registry, build_config(count=1))
    run_passes(host, BEGIN, 1200)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 1200, 0)
    run_passes(host, BEGIN + 1200, HOUR)
    expected = set() if reason == "preflight" else {B}
    assert host.memory.get_image(KEY).quarantine.keys() == expected
    assert len(list_starts(host, B)) == 5 if expected else len(list_starts(host, B)) < 15


def run_bad_image(bad: DigestBehaviour, count: int) -> SimulatedHost:
    """Run a host that takes a bad image in one of its slots, and assert that it is quarantined and not used."""
    registry = SimulatedRegistry([(0, A), (BEGIN + 600, B)], behaviours={B: bad})
    host = build_host(registry, build_config(count=count))
    run_passes(host, BEGIN, 1200)
    host.engine.end_container(host.engine.list_alive()[0].id, BEGIN + 1200, 0)
    run_passes(host, BEGIN + 1200, 2 * HOUR)
    assert host.memory.get_image(KEY).quarantine.keys() == {B}
    assert {container.digest for container in host.engine.list_alive()} == {A}
    return host


@pytest.mark.parametrize(("good_after", "fails_after"), [(1.0, 3.0), (60.0, 100.0)])
@pytest.mark.parametrize("count", [1, 4])
def test_good_is_not_for_ever(good_after: float, fails_after: float, count: int) -> None:
    """An image that proves good and soon fails backs off, and is quarantined when another one lives longer."""
    bad = DigestBehaviour(good_after=good_after, fails_after=fails_after)
    assert len(list_starts(run_bad_image(bad, count), B)) == 3


@pytest.mark.parametrize(
    ("good_after", "exit_code", "reason", "words"),
    [
        (1.0, 0, "completed", True),
        (1.0, 0, "idle", True),
        (1.0, 143, "signal", True),
        (1.0, 1, "preflight", True),
        (1.0, 255, "", False),
    ],
    ids=["completed", "idle", "signal", "preflight", "255"],
)
@pytest.mark.parametrize("count", [1, 4])
def test_good_lives_that_end_at_once_count(
    good_after: float, exit_code: int, reason: str, words: bool, count: int
) -> None:
    """An image that proves good and soon ends without a failure, again and again, backs off and is quarantined."""
    bad = DigestBehaviour(
        good_after=good_after, fails_after=3.0, exit_code=exit_code, reason=reason, writes_last_words=words
    )
    assert len(list_starts(run_bad_image(bad, count), B)) <= 8


@pytest.mark.parametrize(("failed_fast", "delays"), [(0, False), (1, True)])
def test_lives_of_one_payload_each(failed_fast: int, delays: bool) -> None:
    """Twenty lives of 5 s that ran their payload delay nothing and prove the image; those of a black hole back off."""
    memory = Memory()
    for number in range(20):
        begin = BEGIN + number * 2000
        words = LastWords(
            "ended", "payloads", exit_code=0, payloads_run=1, payloads_finished=1, payloads_failed_fast=failed_fast
        )
        life = Container(
            str(number), f"wn-01-{number}", "docker", "wn-01", B, IMAGE, "exited",
            started=begin, ended=begin + 5, last_words=words,
        )  # fmt: skip
        memory = record_end(memory, life, judge_exit(life, 120.0, 0.0), FailuresConfig(), begin + 5)
    slot = memory.get_slot("wn-01")
    assert (slot.not_before > 0, bool(slot.failed), slot.streak > 0) == (delays, delays, delays)


def test_kills_before_the_proof_count() -> None:
    """Lives that are killed after minutes and never proved good delay the next start, and count as failures at last."""
    memory, waits = Memory(), []
    for number in range(6):
        begin = BEGIN + number * 1000
        life = Container(
            str(number), f"wn-01-{number}", "docker", "wn-01", B, IMAGE, "exited",
            started=begin, ended=begin + 200, exit_code=143, health="unhealthy",
        )  # fmt: skip
        memory = record_end(memory, life, judge_exit(life, 120.0, 0.0), FailuresConfig(), begin + 200)
        waits.append(max(0.0, memory.get_slot("wn-01").not_before - begin - 200))
    assert waits[0] == 0 and all(later > earlier for earlier, later in pairwise(waits))
    assert memory.get_slot("wn-01").failed[B].count >= 3


@pytest.mark.parametrize(
    ("exit_code", "reason", "good", "delays"),
    [
        (0, "drain", False, False),
        (143, "", False, False),
        (137, "", False, False),
        (0, "drain", True, False),
        (1, "job-failed", False, True),
    ],
    ids=["drained", "stopped", "killed", "good", "failed"],
)
def test_ordered_early_ends_do_not_count(exit_code: int, reason: str, good: bool, delays: bool) -> None:
    """Lives that an operator ends early, however often, delay no start and count against nothing; a failure counts."""
    memory = Memory()
    for number in range(8):
        begin = BEGIN + number * 100
        words = LastWords(state="ended", reason=reason, exit_code=exit_code, good=good) if reason else None
        life = Container(
            str(number), f"wn-01-{number}", "docker", "wn-01", B, IMAGE, "exited",
            started=begin, ended=begin + 20, exit_code=exit_code, last_words=words,
        )  # fmt: skip
        verdict = judge_exit(life, 120.0, 0.0)
        unordered = record_end(memory, life, verdict, FailuresConfig(), begin + 20)
        memory = record_end(memory, life, verdict, FailuresConfig(), begin + 20, ordered=True)
        slot = memory.get_slot("wn-01")
        assert (slot.not_before > 0) == delays
    assert unordered.get_slot("wn-01").streak > 0, "the same end without an order is early"
    assert slot.streak == (8 if delays else 0) and bool(slot.failed) == delays


def test_good_and_dead_first_image_backs_off() -> None:
    """Without another digest an image that is good at 1 s and dead at 3 s is started ever more rarely."""
    bad = DigestBehaviour(good_after=1.0, fails_after=3.0)
    host = build_host(SimulatedRegistry([(0, B)], behaviours={B: bad}), build_config(count=1))
    run_passes(host, BEGIN, HOUR, every=1.0)
    assert len(list_starts(host, B)) < 15
    assert not host.memory.get_image(KEY).quarantine


def test_digest_that_went_bad_is_caught() -> None:
    """A digest that lived well for days and then fails in every slot is quarantined after two slots' evidence."""
    registry = SimulatedRegistry([(0, A), (BEGIN + HOUR, B)])
    bad_since = BEGIN + 3 * DAY
    host = build_host(
        registry,
        build_config(count=4),
        find_fault=lambda slot, digest, started: 8.0 if digest == B and started >= bad_since else None,
        staggered=True,
    )
    SimulatedFleet([host], BEGIN).run_until(BEGIN + 5 * DAY)
    assert host.memory.get_image(KEY).quarantine.keys() == {B}
    assert len([at for at in list_starts(host, B) if at >= 3 * DAY]) == 6


def build_sites(
    registry: SimulatedRegistry, faults: dict[str, FindFault], hosts: int = 4, **failures: int
) -> SimulatedFleet:
    """Build a fleet of hosts with four slots each that share their evidence; `faults` are by host."""
    return SimulatedFleet(
        (
            build_host(
                registry,
                build_config(f"h{n}", 4, consul={}, failures=failures),
                find_fault=faults.get(f"h{n}", lambda slot, digest, started: None),
                staggered=True,
            )
            for n in range(hosts)
        ),
        BEGIN,
    )


def fail_with(digest: str) -> FindFault:
    """Let every life of a digest fail on a host, whatever the others say."""
    return lambda slot, found, started: 8.0 if found == digest else None


def list_quarantines(host: SimulatedHost) -> dict[str, str]:
    """Return the source of each quarantine of a host."""
    return {digest: entry.source for digest, entry in host.memory.get_image(KEY).quarantine.items()}


def test_one_host_condemns_for_itself_alone() -> None:
    """A host on which a digest fails quarantines it; the others run it, and a fresh host starts it."""
    registry = SimulatedRegistry([(0, A), (BEGIN + HOUR, B)])
    fleet = build_sites(registry, {"h0": fail_with(B)}, hosts=2)
    fleet.run_until(BEGIN + 3 * DAY)
    assert list_quarantines(fleet.hosts[0]).keys() == {B}
    assert list_quarantines(fleet.hosts[1]) == {}
    fresh = build_host(registry, build_config("h9", 1, consul={}))
    fresh.run_pass(BEGIN + 3 * DAY)
    assert {container.digest for container in fresh.engine.list_alive()} == {B}


def test_good_lives_elsewhere_acquit() -> None:
    """When the digest lives well on two other hosts, the condemning host tries it once more, and then no more."""
    fleet = build_sites(SimulatedRegistry([(0, A), (BEGIN + HOUR, B)]), {"h0": fail_with(B)})
    fleet.run_until(BEGIN + 6 * DAY)
    assert fleet.hosts[0].memory.counts["quarantines"] == 2
    assert list_quarantines(fleet.hosts[0]).keys() == {B}
    assert [list_quarantines(host) for host in fleet.hosts[1:]] == [{}, {}, {}]
    assert len(list_starts(fleet.hosts[0], B)) == 6


def test_two_hosts_condemn_for_the_fleet() -> None:
    """A digest that fails on two hosts and lives well on none is not tried by others; a fresh host has an image."""
    registry = SimulatedRegistry([(0, A), (BEGIN + HOUR, B)], behaviours=build_failing_behaviour(B))
    fleet = build_sites(registry, {}, hosts=12)
    fleet.run_until(BEGIN + 3 * DAY)
    tried = [host for host in fleet.hosts if list_starts(host, B)]
    assert 2 <= len(tried) < 8
    assert all(list_quarantines(host).keys() == {B} for host in fleet.hosts)
    assert "hosts" in {source for host in fleet.hosts for source in list_quarantines(host).values()}
    fresh = build_host(registry, build_config("h99", 1, consul={}))
    fresh.run_pass(BEGIN + 3 * DAY)
    assert {container.digest for container in fresh.engine.list_alive()} == {B}


def test_fresh_host_acquits() -> None:
    """A digest that two broken hosts condemned lives well on a fresh host, which then quarantines it no more."""
    registry = SimulatedRegistry([(0, A), (BEGIN + HOUR, B)])
    fleet = build_sites(registry, {"h0": fail_with(B), "h1": fail_with(B)}, hosts=2)
    fleet.run_until(BEGIN + 3 * DAY)
    fresh = [build_host(registry, build_config(f"f{n}", 2, consul={})) for n in range(2)]
    SimulatedFleet(fresh, BEGIN + 3 * DAY).run_until(BEGIN + 5 * DAY)
    for host in fresh:
        assert {container.digest for container in host.engine.list_alive()} == {B}
        assert not list_quarantines(host)
    assert set(registry.voices[B].well) == {"f0", "f1"}


def test_figures_are_reproducible() -> None:
    """Equal seeds give equal figures, and other seeds other sites."""
    words = ["--blame", "1", "--processes", "1", "--output", "json"]
    first, again, other = (
        CliRunner().invoke(simulate, [*words, "--seed", seed], catch_exceptions=False).stdout
        for seed in ("13", "13", "3")
    )
    assert first == again != other
    assert json.loads(first)["steady"]["wrong_quarantines"] == 0


@pytest.mark.parametrize("kinds", SITE_KINDS, ids="+".join)
def test_faulty_sites_condemn_no_good_image(kinds: tuple[str, ...]) -> None:
    """In months of sites with broken slots, hosts, images and networks, and pairs of them, no good image is blamed."""
    numbers = [number for number in range(20) if SITE_KINDS[number % len(SITE_KINDS)] == kinds]
    reports = [simulate_site(number, build_config(count=1, rollout={})) for number in numbers]
    assert [report.wrong for report in reports] == [()] * 2
    if "image" in kinds:
        assert sum(report.tried for report in reports) > 0
        assert 3 in {lives for report in reports for lives in report.lives}
