"""A digest that does worse than the good one before it is suspect, and nothing but a comparison condemns it."""

from __future__ import annotations

import json
from dataclasses import replace
from math import comb

import pytest
from autopilot_watchdog.config.config_reader import ConfigError, parse_config
from autopilot_watchdog.config.suspicion_config import SuspicionConfig
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.digest_rates import HostScene, is_suspect, judge_image
from autopilot_watchdog.core.exit_verdict import GOOD, NEUTRAL, ExitVerdict
from autopilot_watchdog.core.image_troubles import list_image_troubles
from autopilot_watchdog.core.life_tallies import MAX_PAST_LIVES, LifeEnd, LivingLife, classify_end
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory, Memory, PastLife, PayloadPeriod
from autopilot_watchdog.core.operator_orders import release_quarantine
from autopilot_watchdog.core.rate_tests import (
    Tally,
    compute_look_level,
    compute_rate_tail,
    compute_share_tail,
    is_worse,
)
from autopilot_watchdog.core.slot_actions import Start
from autopilot_watchdog.core.suspicion_events import list_suspicion_changes
from autopilot_watchdog.core.suspicions import count_suspects
from autopilot_watchdog.shell import state_codec
from autopilot_watchdog.simulation.rate_sites import BAD_KINDS, simulate_rates, sum_up_rates
from autopilot_watchdog.simulation.simulated_fleet import SimulatedFleet
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import BEGIN, IMAGE, KEY, A, B, build_config, build_host
from tests.watchdog.test_canary import CANARY, CANARY_KEY

HOUR, DAY = 3600.0, 86400.0
SETTINGS = SuspicionConfig()
ORDERLY = DigestBehaviour(6 * HOUR, HOUR)
SHORT = DigestBehaviour(fails_after=2400.0, exit_code=0, reason="completed")
UNHEALTHY = DigestBehaviour(fails_after=4 * HOUR, exit_code=69, reason="check-failed")
PUSH = BEGIN + 10 * DAY


def build_lives(count: int, end: LifeEnd, age: float, begin: float = BEGIN, slots: int = 4) -> tuple[PastLife, ...]:
    """Build lives that ended an hour after each other, in slots in turn."""
    return tuple(
        PastLife(f"wn-{number % slots:02}", begin + (number + 1) * HOUR, int(age), str(end)) for number in range(count)
    )


def judge(former: DigestRecord, new: DigestRecord, *living: LivingLife, slots: int = 4) -> ImageMemory:
    """Judge the digest B, which was pushed after A, a week after the begin."""
    image = ImageMemory(records={A: former, B: replace(new, first_seen=BEGIN + 1)})
    rivals = {A: former, B: image.records[B]}
    return judge_image(image, rivals, SETTINGS, HostScene(living, slots, BEGIN + 7 * DAY))


def test_tests_are_exact() -> None:
    """Both chances are those of the textbook, and a difference counts only if both see it."""
    assert compute_share_tail(Tally(5, 5), Tally(0, 10)) == pytest.approx(1 / comb(15, 5))
    assert compute_share_tail(Tally(0, 5), Tally(3, 10)) == pytest.approx(1.0)
    assert compute_rate_tail(Tally(3, 3, 100.0), Tally(0, 10, 300.0)) == pytest.approx(0.25**3)
    short = Tally(5, 5, 3600.0)
    assert is_worse(short, Tally(0, 10, 100 * 3600.0), 0.001)
    assert not is_worse(short, Tally(0, 10, 3600.0), 0.001)  # as much time: the lives are more, not worse
    assert not is_worse(replace(short, total=40), Tally(0, 10, 100 * 3600.0), 0.001)


def test_levels_of_all_looks_add_up() -> None:
    """However often a digest is compared, the chance of a false alarm stays below the stated one."""
    for first in (3, 5, 30):
        levels = [compute_look_level(0.01, first, number) for number in range(first, 5000)]
        assert 0.009 < sum(levels) <= 0.01


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (ExitVerdict(GOOD, "lifetime", ""), LifeEnd.IN_ORDER),
        (ExitVerdict(GOOD, "completed", ""), LifeEnd.COMPLETED),
        (ExitVerdict(GOOD, "check-failed", "", own_fault=True), LifeEnd.HEALTH),
        (ExitVerdict(GOOD, "oom", "", own_fault=True), LifeEnd.ERROR),
        (ExitVerdict(GOOD, "killed", ""), None),
        (ExitVerdict(GOOD, "signal", ""), None),
        (ExitVerdict(NEUTRAL, "completed", ""), None),
    ],
)
def test_kinds_of_ends(end: ExitVerdict, kind: LifeEnd | None) -> None:
    """Only the end of a life that proved good counts, and not one from outside."""
    assert classify_end(end) is kind


@pytest.mark.parametrize(
    ("end", "age", "sentence"),
    [
        (LifeEnd.COMPLETED, 1200, "lives are short: 9 of 9 against 0 of 40 with the former image"),
        (LifeEnd.ERROR, 20 * HOUR, "lives end with an error: 9 of 9 against 0 of 40 with the former image"),
        (LifeEnd.HEALTH, 20 * HOUR, "(9 by failed health checks)"),
    ],
)
def test_worse_lives_are_told(end: LifeEnd, age: float, sentence: str) -> None:
    """A digest with lives that end by themselves is suspect, with the figures of both digests."""
    former = DigestRecord(BEGIN, lives=build_lives(40, LifeEnd.IN_ORDER, 24 * HOUR))
    image = judge(former, DigestRecord(BEGIN, lives=build_lives(9, end, age)))
    assert count_suspects(image) == 1
    assert any(sentence in text and text.startswith(f"{B[:19]} is suspect") for text in list_image_troubles(image, 0.0))
    events = list(list_suspicion_changes(ImageMemory(), image))
    assert {event for event, _, _ in events} == {AuditEvent.SUSPECT} and events[0][1] == B


def test_no_comparison_without_enough_lives() -> None:
    """Four bad lives, or nine good ones of the digest before, are too few, and 40 lives establish a digest."""
    bad, good = build_lives(40, LifeEnd.ERROR, HOUR), build_lives(40, LifeEnd.IN_ORDER, 24 * HOUR)
    assert not count_suspects(judge(DigestRecord(BEGIN, lives=good), DigestRecord(BEGIN, lives=bad[:4])))
    assert not count_suspects(judge(DigestRecord(BEGIN, lives=good[:9]), DigestRecord(BEGIN, lives=bad[:9])))
    assert not count_suspects(judge(DigestRecord(BEGIN, lives=good), DigestRecord(BEGIN, lives=bad[:MAX_PAST_LIVES])))
    assert count_suspects(judge(DigestRecord(BEGIN, lives=good), DigestRecord(BEGIN, lives=bad[:9])))


def test_one_cause_counts_once() -> None:
    """An outage that ends the lives of all slots at once is no evidence against the image."""
    former = DigestRecord(BEGIN, lives=build_lives(40, LifeEnd.IN_ORDER, 24 * HOUR))
    outage = tuple(PastLife(f"wn-{n:02}", BEGIN + HOUR + n, 1800, str(LifeEnd.HEALTH)) for n in range(20))
    assert not count_suspects(judge(former, DigestRecord(BEGIN, lives=outage), slots=20))


def test_time_that_goes_on_counts() -> None:
    """Short lives that ended first say little while many others of the digest live on."""
    former = DigestRecord(BEGIN, lives=build_lives(40, LifeEnd.IN_ORDER, 24 * HOUR))
    new = DigestRecord(BEGIN, lives=build_lives(6, LifeEnd.ERROR, 2 * HOUR, slots=6))
    living = [LivingLife(f"wn-{number:02}", B, 23 * HOUR) for number in range(10, 60)]
    assert count_suspects(judge(former, new, slots=60))
    assert not count_suspects(judge(former, new, *living, slots=60))


@settings(deadline=None, max_examples=scale_examples(60))
@given(
    st.lists(st.tuples(st.sampled_from(list(LifeEnd)), st.integers(120, 90_000)), max_size=30),
    st.lists(st.tuples(st.sampled_from(list(LifeEnd)), st.integers(120, 90_000)), max_size=40),
)
def test_one_broken_slot_condemns_nothing(broken: list[tuple[LifeEnd, int]], former: list[tuple[LifeEnd, int]]) -> None:
    """Whatever happens in one slot of several, a digest that lives in order in the others is not suspect."""
    bad = [PastLife("wn-01", BEGIN + n * HOUR, age, str(end)) for n, (end, age) in enumerate(broken)]
    well = build_lives(9, LifeEnd.IN_ORDER, 24 * HOUR)
    before = [PastLife("wn-02", BEGIN + n * HOUR, age, str(end)) for n, (end, age) in enumerate(former)]
    image = judge(DigestRecord(BEGIN, lives=tuple(before)), DigestRecord(BEGIN, lives=(*bad, *well)))
    assert not count_suspects(image)


def build_periods(count: int, bad: int, slots: int = 4) -> tuple[PayloadPeriod, ...]:
    """Build periods with a hundred payloads in each slot, all of which fail in `bad` of the slots."""
    return tuple(PayloadPeriod(BEGIN + n * 6 * HOUR, slots, bad, 100 * slots, 100 * bad) for n in range(count))


@pytest.mark.parametrize(
    ("bad", "former", "suspect"), [(4, 0, True), (3, 0, True), (2, 0, False), (1, 0, False), (4, 4, False)]
)
def test_failing_payloads(bad: int, former: int, suspect: bool) -> None:
    """Payloads that fail in most slots, period after period, are told, unless they failed before, too."""
    image = judge(
        DigestRecord(BEGIN, periods=build_periods(20, former)), DigestRecord(BEGIN, periods=build_periods(7, bad))
    )
    assert is_suspect(image.records[B]) is suspect
    if suspect:
        [sentence] = [found.sentence for found in image.records[B].suspicions.values()]
        assert f"within a minute: {700 * bad} of 2800 against 0 of 8000" in sentence


def test_a_burst_is_one_observation() -> None:
    """A user whose thousand jobs fail within a day makes no image suspect."""
    periods = (*build_periods(4, 4), *(replace(one, begin=one.begin + 2 * DAY) for one in build_periods(4, 0)))
    image = judge(DigestRecord(BEGIN, periods=build_periods(20, 0)), DigestRecord(BEGIN, periods=periods))
    assert not count_suspects(image)


def build_row(bad: str, first: int = 0) -> tuple[PayloadPeriod, ...]:
    """Build periods of four slots from the `first` one on: "x" with payloads that fail, "." with good ones."""
    return tuple(
        PayloadPeriod(BEGIN + n * 6 * HOUR, 4, 4 * (mark == "x"), 400, 400 * (mark == "x"))
        for n, mark in enumerate(bad, first)
    )


@pytest.mark.parametrize(
    ("former", "first", "new", "suspect"),
    [
        ("....................", 20, "xxxxxxxx", True),
        ("....................", 19, "xxxxxxxx", True),  # the other slots do well at the same time
        ("....................", 20, "x.xxxxxxxx", True),
        ("....................", 20, "...xxxxxxxxxxxxxxxxx", False),  # a user came after the digest
        ("...................x", 20, "xxxxxxxxxxxxxxxxxxxx", False),  # before it
        ("...................x", 19, "xxxxxxxxxxxxxxxxxxxx", False),  # in the same period
        ("..................xx", 20, "xxxx.xxxxxxxx", True),  # and went, but the payloads go on to fail
        ("....................xxxxxxxxxx", 20, "xxxxxxxxxx", False),  # the payloads of both fail: a canary
        ("..............................", 20, "xxxxxxxxxx", True),
    ],
)
def test_a_users_row_of_failures(former: str, first: int, new: str, suspect: bool) -> None:
    """A user whose payloads fail for days with any digest makes none suspect, before, at or after a push."""
    image = judge(DigestRecord(BEGIN, periods=build_row(former)), DigestRecord(BEGIN, periods=build_row(new, first)))
    assert is_suspect(image.records[B]) is suspect


def test_one_slot_of_several_tells_nothing() -> None:
    """While payloads end in one of several slots only, they say nothing about the digest, neither good nor bad."""
    one_slot = tuple(PayloadPeriod(BEGIN + n * 6 * HOUR, 1, 1, 100, 100) for n in range(20, 40))
    former = DigestRecord(BEGIN, periods=build_row("." * 20))
    assert not count_suspects(judge(former, DigestRecord(BEGIN, periods=one_slot)))
    assert count_suspects(judge(former, DigestRecord(BEGIN, periods=one_slot), slots=1))
    assert count_suspects(judge(former, DigestRecord(BEGIN, periods=(*one_slot[:2], *build_row("x" * 8, 22)))))


def test_the_state_keeps_it() -> None:
    """Lives, periods and suspicions survive the file of the state."""
    former = DigestRecord(BEGIN, lives=build_lives(40, LifeEnd.IN_ORDER, 24 * HOUR), periods=build_periods(3, 1))
    image = judge(former, DigestRecord(BEGIN, lives=build_lives(9, LifeEnd.ERROR, HOUR)))
    memory = Memory(images={KEY: image})
    assert state_codec.decode(Memory, json.loads(state_codec.encode(memory))) == memory


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("action", "kill", 'must be "warn", "quarantine" or "off"'),
        ("false_alarms", 0.5, "must be a chance from 0.000001 to 0.2"),
        ("false_alarms", "1%", "must be a chance such as 0.01"),
        ("lives", 2, "must be a whole number from 3 to 30"),
        ("former_lives", 31, "must be a whole number from 3 to 30"),
        ("burst", "0s", "must be a duration of more than 0 s"),
        ("bursts", "1h", 'did you mean "burst"?'),
    ],
)
def test_wrong_keys(key: str, value: object, remedy: str) -> None:
    """A wrong value is refused with its place, the expectation and the value that was found."""
    document = {"slots": [{"name": "wn-NN", "image": IMAGE}], "suspicion": {key: value}}
    with pytest.raises(ConfigError) as refused:
        parse_config(json.dumps(document, indent=1))
    [line] = refused.value.lines
    assert remedy in line and f"suspicion.{key}: " in line and line.startswith("config:")


def build_site(bad: DigestBehaviour, *, count: int = 4, action: str = "warn") -> tuple[SimulatedHost, SimulatedFleet]:
    """Build a host that has run A for ten days when B is pushed, which behaves as told."""
    registry = SimulatedRegistry([(0, A), (PUSH, B)], behaviours={A: ORDERLY, B: bad})
    host = build_host(registry, build_config(count=count, suspicion={"action": action}), staggered=True)
    return host, SimulatedFleet([host], BEGIN)


def list_starts(host: SimulatedHost, digest: str) -> list[float]:
    """Return the times at which lives of a digest started."""
    return [at for at, action in host.executed_actions if isinstance(action, Start) and action.digest == digest]


def get_image(host: SimulatedHost) -> ImageMemory:
    """Return the host's memory of its image."""
    return host.memory.get_image(KEY)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("bad", [SHORT, UNHEALTHY], ids=["short", "unhealthy"])
def test_slowly_bad_image_is_told(bad: DigestBehaviour, count: int) -> None:
    """A host suspects a slowly bad image within 25 lives, and goes on to run it."""
    host, fleet = build_site(bad, count=count)
    while not count_suspects(get_image(host)) and fleet.now < PUSH + 10 * DAY:
        fleet.run_until(fleet.now + HOUR)
    assert count_suspects(get_image(host)) == 1
    assert len(list_starts(host, B)) <= 25
    fleet.run_until(fleet.now + DAY)
    assert not get_image(host).quarantine and fleet.compute_share(B) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("bad", [SHORT, UNHEALTHY], ids=["short", "unhealthy"])
def test_slowly_bad_image_is_quarantined(bad: DigestBehaviour, count: int) -> None:
    """If the site says so, the digest before is tried, and the slowly bad one is quarantined within 30 lives."""
    host, fleet = build_site(bad, count=count, action="quarantine")
    fleet.run_until(PUSH + 12 * DAY)
    entry = get_image(host).quarantine[B]
    assert entry.source == "rates" and "with the former image" in entry.reason
    assert len(list_starts(host, B)) <= 30 and fleet.compute_share(A) == 1.0
    assert get_image(host).last_good == A


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
def test_worse_host_condemns_nothing(count: int) -> None:
    """A host where the lives of every image are short from the push on quarantines nothing and lifts the suspicion."""
    host, fleet = build_site(SHORT, count=count, action="quarantine")
    fleet.run_until(PUSH)
    host.registry.behaviours = {A: SHORT, B: SHORT}
    fleet.run_until(PUSH + 12 * DAY)
    assert host.memory.counts.get("quarantines", 0) == 0
    assert [found.verdict for found in get_image(host).records[B].suspicions.values()] == ["lifted"]
    assert not list(list_image_troubles(get_image(host), fleet.now)) and fleet.compute_share(B) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("action", ["warn", "off"])
def test_failing_payloads_of_an_image(action: str) -> None:
    """An image whose payloads fail at once is told within three days, with the figures; not if nothing is compared."""
    host, fleet = build_site(replace(ORDERLY, payloads_per_hour=20.0, failing_payloads=0.95), count=2, action=action)
    host.registry.behaviours = {
        A: replace(ORDERLY, payloads_per_hour=20.0, failing_payloads=0.02),
        **{B: host.registry.behaviours[B]},
    }
    fleet.run_until(PUSH + 3 * DAY)
    sentences = [found.sentence for found in get_image(host).records[B].suspicions.values()]
    assert len(sentences) == (action == "warn")
    assert all("payloads end with an error within a minute: " in sentence for sentence in sentences)


@pytest.mark.slow
@pytest.mark.parametrize("days", [-1, 0, 3])
def test_bad_user_condemns_no_image(days: int) -> None:
    """A user whose payloads all fail with any image, for days, costs no image its place; only at a push it is tried."""
    well = replace(ORDERLY, payloads_per_hour=20.0, failing_payloads=0.02)
    host, fleet = build_site(well, count=2, action="quarantine")
    host.registry.behaviours = {A: well, B: well}
    fleet.run_until(PUSH + days * DAY)
    host.registry.behaviours = {digest: replace(well, failing_payloads=0.95) for digest in (A, B)}
    fleet.run_until(PUSH + 10 * DAY)
    assert host.memory.counts.get("quarantines", 0) == 0 and fleet.compute_share(B) == 1.0
    verdicts = [found.verdict for found in get_image(host).records[B].suspicions.values()]
    assert verdicts in ([], ["lifted"]) if days == 0 else verdicts == []


@pytest.mark.slow
@pytest.mark.parametrize(("bad", "action"), [(SHORT, "quarantine"), (UNHEALTHY, "quarantine"), (UNHEALTHY, "warn")])
def test_slowly_bad_canary(bad: DigestBehaviour, action: str) -> None:
    """A canary's digest is compared with the group's; it is not promoted while it is tried, and is quarantined then."""
    canary = {"image": ":canary", "slots": 1, "promote": "4d"}
    registry = SimulatedRegistry([(0, A)], behaviours={A: ORDERLY, B: bad}, tag_pushes={CANARY: [(PUSH, B)]})
    config = build_config(count=4, suspicion={"action": action}, group={"canary": canary})
    host = build_host(registry, config, staggered=True)
    fleet = SimulatedFleet([host], BEGIN)
    while not count_suspects(host.memory.get_image(CANARY_KEY)) and fleet.now < PUSH + 4 * DAY:
        fleet.run_until(fleet.now + HOUR)
    [found] = [one for one in host.memory.get_image(CANARY_KEY).records[B].suspicions.values()][:1]
    assert "with the former image" in found.sentence and found.rival == A
    fleet.run_until(PUSH + 5 * DAY)
    if action == "quarantine":
        assert host.memory.get_image(CANARY_KEY).quarantine[B].source == "rates"
        assert fleet.compute_share(A) == 1.0 and not host.memory.groups[config.slots[0].name].promotion.digest
    else:
        assert fleet.compute_share(B) == 1.0  # the rule promotes it: the site only wants to be warned


@pytest.mark.slow
def test_release_begins_anew() -> None:
    """After an operator's release a digest has a clean record."""
    host, fleet = build_site(SHORT, action="quarantine")
    fleet.run_until(PUSH + 6 * DAY)
    memory, _ = release_quarantine(host.memory, KEY, B, fleet.now)
    record = memory.get_image(KEY).records[B]
    assert (record.lives, record.suspicions) == ((), {})


@pytest.mark.slow
def test_false_alarms_keep_to_the_level() -> None:
    """Of equally good digests no larger share is suspected than the configuration allows."""
    figures = sum_up_rates(simulate_rates(number, SuspicionConfig(false_alarms=0.2)) for number in range(24))
    assert figures["digests_compared"] > 60
    assert figures["false_alarms"] <= 0.2 * figures["digests_compared"]
    reports = [simulate_rates(number, SETTINGS) for number in range(24)]
    alarms = [sentence for report in reports for sentence in report.false_alarms]
    assert all(sentence.startswith("payloads ") for sentence in alarms)  # a user's of days that began at a push
    assert len(alarms) <= 0.02 * sum(report.compared for report in reports)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD_KINDS)
def test_slowly_bad_images_are_caught(kind: str) -> None:
    """Many hosts suspect a slowly bad digest before the next push, errors and outages with any image aside."""
    figures = sum_up_rates(simulate_rates(number, SETTINGS, kind) for number in range(12))
    assert figures["caught"] >= figures["bad_digests"] / 3 > 0
    assert figures["lives_median"] <= 40
