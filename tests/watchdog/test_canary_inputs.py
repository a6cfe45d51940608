"""Configurations and keys of Consul about canaries, rings and promotions are taken or refused; none breaks a pass."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

from autopilot_watchdog.config.canary_config import parse_promotion
from autopilot_watchdog.config.config_reader import ConfigError, parse_config
from autopilot_watchdog.config.value_readers import parse_rings
from autopilot_watchdog.core import good_lives
from autopilot_watchdog.core.memory import FleetLives
from autopilot_watchdog.core.promotion import follow_fleet_promotions
from autopilot_watchdog.core.ring_evidence import compute_ring_turn
from autopilot_watchdog.core.rollout import compute_promotion_time
from autopilot_watchdog.shell.fleet_keys import parse_fleet_state
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import BEGIN, IMAGE, KEY, A, B, build_config, run_passes
from tests.watchdog.test_canary import CANARY, HOUR, ONE_SLOT, build_canary_host

PREFIX, MACHINE = "autopilot-watchdog", "x86_64"
TEXTS = st.sampled_from(
    ["", ":canary", "5%", "0%", "100%", "1h", "0s", "manual", "9" * 400 + "h", "1e999s", "\0", "wn-*"]
)
NUMBERS = st.one_of(st.integers(-2, 3), st.just(10**400), st.floats())
KEYS = st.sampled_from(["image", "share", "slots", "hosts", "promote", "good", "after", "needs", "at_latest", "rings"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), TEXTS, NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
NEEDS = st.fixed_dictionaries({"good": st.integers(1, 50)}, optional={"hosts": st.integers(1, 5)})


@given(canary=VALUES, rollout=VALUES, has_consul=st.booleans())
@settings(max_examples=scale_examples(300), deadline=None)
def test_any_canary_is_taken_or_refused(canary: Any, rollout: Any, has_consul: bool) -> None:
    """A configuration with any canary and any rollout of a group is read, or refused with places and sentences."""
    group = {"name": "wn-NN", "image": IMAGE, "count": 3, "canary": canary, "rollout": rollout}
    document = {"host": "h1", "slots": [group], **({"consul": {}} if has_consul else {})}
    with contextlib.suppress(ConfigError):
        config = parse_config(json.dumps(document))
        assert len(config.map_slots_to_groups()) == 3


@given(needs=NEEDS, hours=st.integers(0, 100))
@settings(max_examples=scale_examples(100), deadline=None)
def test_evidence_is_read_as_written(needs: dict[str, int], hours: int) -> None:
    """A promotion and a ring have the evidence and the time that the configuration gives."""
    rule = parse_promotion({**needs, "after": f"{hours}h"})
    assert rule.needs is not None and rule.after == hours * HOUR
    assert (rule.needs.good, rule.needs.hosts) == (needs["good"], needs.get("hosts", 1))
    first, last = parse_rings([{"share": "1%", "after": f"{hours}h"}, {"share": "100%", "needs": needs}])
    assert first.needs is None and (last.needs, last.after) == (rule.needs, hours * HOUR)
    assert last.at_latest is None


@given(hours=st.integers(0, 100))
@settings(max_examples=scale_examples(50), deadline=None)
def test_any_latest_time_opens_the_ring(hours: int) -> None:
    """A ring without evidence opens at its `at_latest`, also at that of 0 s."""
    host = build_canary_host()
    run_passes(host, BEGIN, HOUR)
    group, record = host.config.slots[0], host.memory.get_image(KEY).records[A]
    rings = parse_rings(
        [{"share": "0.001%", "after": "0s"}, {"share": "100%", "needs": {"good": 5}, "at_latest": f"{hours}h"}]
    )
    rollout = replace(host.config.rollout, rings=rings, spread=0.0)
    turn = compute_ring_turn(host.memory, group, A, host=host.config.host, rollout=rollout)
    assert turn == record.first_seen + hours * HOUR


@given(needs=NEEDS, lives=st.dictionaries(st.sampled_from(["h1", "h2", "h3", "h4"]), st.integers(0, 40)))
@settings(max_examples=scale_examples(200), deadline=None)
def test_more_lives_are_never_less_evidence(needs: dict[str, int], lives: dict[str, int]) -> None:
    """The evidence is enough exactly if lives and hosts are, and one more good life never makes it too little."""
    rule = parse_promotion(needs).needs
    assert rule is not None
    found = FleetLives(sum(lives.values()), sum(count > 0 for count in lives.values()))
    more = FleetLives(found.good + 1, found.hosts)
    assert good_lives.is_enough(found, rule) == (found.good >= rule.good and found.hosts >= rule.hosts)
    assert good_lives.is_enough(more, rule) or not good_lives.is_enough(found, rule)
    assert str(found.good) in good_lives.describe_missing(found, rule)


@given(
    st.dictionaries(
        st.sampled_from(
            [f"lives/{B}/h1", f"lives/{B}/h2", f"lives/{B}/", "lives/x/h1", f"promoted/{MACHINE}/{IMAGE}", "promoted//"]
        ),
        st.one_of(
            st.text(max_size=20),
            st.integers(-1, 10**12).map(str),
            VALUES.map(json.dumps),
            st.fixed_dictionaries(
                {"digest": st.sampled_from([A, B, "x", 5]), "over": st.sampled_from([A, B, "", None])},
                optional={"canary": st.sampled_from([CANARY, "x" * 5000, 7]), "reason": st.text(max_size=2000)},
            ).map(json.dumps),
        ),
    )
)
@settings(max_examples=scale_examples(200), deadline=None)
def test_any_word_of_the_fleet_is_harmless(words: dict[str, str]) -> None:
    """Garbage below the fleet's keys is nothing; a promotion that is followed has whole digests and a short reason."""
    config = build_config(count=3, group={"canary": ONE_SLOT})
    fleet = parse_fleet_state({f"{PREFIX}/{key}": text for key, text in words.items()}, PREFIX, MACHINE)
    assert all(0 <= count < 10**9 for counts in fleet.lives.values() for count in counts.values())
    assert fleet.lives.keys() <= {B} and fleet.promotions.keys() <= {IMAGE}
    after = follow_fleet_promotions(config, MEMORY, fleet, BEGIN)
    promotion = after.groups["wn-NN"].promotion
    assert promotion.digest in {"", A, B} and len(promotion.reason) <= 500
    turn = compute_promotion_time(after, config.slots[0], config, BEGIN)
    assert (turn is not None) == (promotion.digest == B and promotion.over == A)


def _remember_one_day() -> Any:
    host = build_canary_host()
    run_passes(host, BEGIN, HOUR)
    return host.memory


MEMORY = _remember_one_day()
