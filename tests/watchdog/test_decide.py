"""What is decided, of one host: each test says in one sentence what holds."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import replace

import pytest
from autopilot_watchdog.core import learning, operator
from autopilot_watchdog.core.actions import Bury, Drain, Outcome, Preflight, Pull, RemoveImage, Start, Verify
from autopilot_watchdog.core.decide import decide, heads_wanted
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineDown, Fleet, Head, Observation
from autopilot_watchdog.simulation.world import Behaviour, Registry

from tests.watchdog.scenes import BEGIN, KEY, A, B, C, config, failing, host, run


def actions(host, kind):
    return [(at - BEGIN, action) for at, action in host.done if isinstance(action, kind)]


def digests(host):
    return sorted({container.digest for container in host.living()})


def test_missing_slots_are_filled():
    """An empty host pulls the newest digest once and starts every slot with it."""
    it = host()
    it.run(BEGIN)
    assert [type(action).__name__ for _, action in it.done] == ["Pull", "Start", "Start"]
    assert digests(it) == [A]
    assert {reason.code for reason in it.reasons.values()} == {"running"}


def test_running_slot_is_never_stopped_for_an_update():
    """A push changes nothing that runs: the new image is fetched, and only the next lives take it."""
    it = host(Registry([(0, A), (BEGIN + 600, B)]))
    run(it, BEGIN, 6 * 3600)
    assert digests(it) == [A]
    assert B in it.digests
    assert not actions(it, Drain)
    first = it.living()[0]
    it.end(first.id, BEGIN + 6 * 3600, 0)
    it.run(BEGIN + 6 * 3600)
    assert digests(it) == [A, B]


def test_engine_down_is_unknown():
    """An engine that does not answer gives no action at all, and the reason engine-unknown."""
    it = host()
    it.run(BEGIN)
    it.engine_up = False
    done = len(it.done)
    it.run(BEGIN + 600)
    assert len(it.done) == done
    assert {reason.code for reason in it.reasons.values()} == {"engine-unknown"}


def test_killed_slot_is_refilled_at_once():
    """One SIGKILL from outside costs no wait; a second soon after does."""
    it = host(of=config(count=1))
    it.run(BEGIN)
    it.end(it.living()[0].id, BEGIN + 5, 137)
    it.run(BEGIN + 5)
    assert len(it.living()) == 1
    it.end(it.living()[0].id, BEGIN + 10, 137)
    it.run(BEGIN + 10)
    assert it.reasons["wn-01"].code == "backoff"


def test_bad_push_is_quarantined_and_the_good_one_takes_over():
    """After three failed lives the slot has the last good digest at once; the bad one is not pulled again."""
    it = host(Registry([(0, A), (BEGIN + 600, B)], behaviours=failing(B)), config(count=1))
    run(it, BEGIN, 1200)
    it.end(it.living()[0].id, BEGIN + 1200, 0)
    run(it, BEGIN + 1200, 600)
    assert B in it.memory.image(KEY).quarantine
    assert digests(it) == [A]
    pulls = len(actions(it, Pull))
    run(it, BEGIN + 1800, 7200)
    assert len(actions(it, Pull)) == pulls
    assert it.memory.image(KEY).quarantine[B].confirmed


def test_next_good_push_recovers_by_itself():
    """A push after a quarantined one is taken by the next life, without anybody's hand."""
    it = host(Registry([(0, A), (BEGIN + 600, B), (BEGIN + 7200, C)], behaviours=failing(B)), config(count=1))
    run(it, BEGIN, 1200)
    it.end(it.living()[0].id, BEGIN + 1200, 0)
    run(it, BEGIN + 1200, 9000)
    it.end(it.living()[0].id, BEGIN + 10200, 0)
    run(it, BEGIN + 10200, 600)
    assert digests(it) == [C]
    assert it.memory.image(KEY).last_good == C


def test_broken_host_acquits_the_new_digest():
    """When the good digest fails as well, the host is to blame: nothing stays quarantined, and the host backs off."""
    broken = (BEGIN + 1100, BEGIN + 5 * 3600)
    registry = Registry([(0, A), (BEGIN + 600, B)])
    it = host(registry, config(count=1), broken=lambda now: broken[0] <= now < broken[1])
    run(it, BEGIN, 1200)
    it.end(it.living()[0].id, BEGIN + 1200, 0)
    run(it, BEGIN + 1200, 2 * 3600)
    starts = len(actions(it, Start))
    assert starts < 25, "a crash loop"
    run(it, BEGIN + 3 * 3600, 6 * 3600)
    assert not it.memory.image(KEY).quarantine
    assert digests(it) == [B]


def test_bad_first_image_backs_off():
    """With nothing to fall back on a failing image is tried again, later and later: no crash loop, no quarantine."""
    it = host(Registry([(0, B)], behaviours=failing(B)))
    run(it, BEGIN, 24 * 3600)
    assert not it.memory.image(KEY).quarantine
    assert len(actions(it, Start)) < 80


def test_registry_down_starts_the_last_good():
    """While the registry is away a slot is refilled with what is there, and the reason says how stale."""
    registry = Registry([(0, A)], outages=[(BEGIN + 60, BEGIN + 7200)])
    it = host(registry, config(count=1))
    run(it, BEGIN, 3600)
    it.end(it.living()[0].id, BEGIN + 3600, 0)
    seen = it.observe(BEGIN + 3600)
    decision = decide(it.config, seen, it.memory, BEGIN + 3600)
    assert "the registry last answered" in decision.reasons["wn-01"].sentence
    it.run(BEGIN + 3600)
    assert digests(it) == [A]


def test_pull_fails_last_good_starts():
    """A newest digest that cannot be pulled does not keep a slot empty."""
    it = host(Registry([(0, A), (BEGIN + 3600, B)]), config(count=1))
    run(it, BEGIN, 3590)
    pull = Pull(KEY, B)
    it.memory = learning.heads(it.memory, {KEY: Head(B)}, BEGIN + 3600)
    it.memory = learning.outcome(it.config, it.memory, Outcome(pull, "unexpected EOF"), BEGIN + 3600)
    it.end(it.living()[0].id, BEGIN + 3605, 0)
    it.run(BEGIN + 3605)
    assert digests(it) == [A]
    assert not actions(it, Pull)[1:], "tried again at once"


def test_signature_and_preflight_come_first():
    """A digest is verified, then pre-flighted, before its first life."""
    group = {"verify": {"exec": ["cosign"]}, "preflight": {"exec": ["true"]}}
    it = host(of=config(count=1, group=group))
    it.run(BEGIN)
    assert [type(action) for _, action in it.done] == [Pull, Verify, Preflight, Start]


@pytest.mark.parametrize("order", ["pin", "rollback"])
def test_operator_chooses(order):
    """A pinned digest, or the one before after a rollback, is what the next life takes."""
    it = host(Registry([(0, A), (BEGIN + 600, B)]), config(count=1))
    run(it, BEGIN, 3600)
    it.end(it.living()[0].id, BEGIN + 3600, 0)
    run(it, BEGIN + 3600, 3600)
    assert digests(it) == [B]
    now = BEGIN + 7200
    give = {
        "pin": lambda: operator.pin(it.memory, KEY, A[:12], now),
        "rollback": lambda: operator.rollback(it.memory, KEY, now),
    }
    it.memory, _ = give[order]()
    it.end(it.living()[0].id, now, 0)
    run(it, now, 3600)
    assert digests(it) == [A]
    undo = {
        "pin": lambda: operator.unpin(it.memory, KEY, now),
        "rollback": lambda: operator.release(it.memory, KEY, B[:12], now),
    }
    it.memory, _ = undo[order]()
    it.end(it.living()[0].id, now + 3600, 0)
    run(it, now + 3600, 60)
    assert digests(it) == [B]


def test_paused_host_starts_nothing():
    """After `pause` an empty slot stays empty, and asks no registry; after `resume` it is filled."""
    it = host()
    it.memory, _ = operator.pause(it.memory)
    it.run(BEGIN)
    assert not it.done and not it.registry.heads
    it.memory, _ = operator.resume(it.memory)
    it.run(BEGIN + 1)
    assert len(it.living()) == 2


def test_unfit_host_starts_nothing():
    """A host whose own pre-flight fails starts nothing and pulls nothing, and buries its dead."""
    it = host(of=config(count=1))
    it.run(BEGIN)
    it.end(it.living()[0].id, BEGIN + 600, 0)
    it.fit = ("0.1 GB are free",)
    real, it.observe = it.observe, lambda now: replace(real(now), unfit=it.fit)
    it.run(BEGIN + 600)
    assert it.reasons["wn-01"].code == "host-unfit"
    assert [type(action) for at, action in it.done if at > BEGIN] == [Bury]


def test_garbage_keeps_what_may_be_needed():
    """Newest, last good, the good one before and what runs are kept; an older image goes."""
    digests_in_turn = [f"sha256:{number:064x}" for number in range(4)]
    registry = Registry([(BEGIN + number * 7200, digest) for number, digest in enumerate(digests_in_turn)])
    it = host(registry, config(count=1))
    for number in range(4):
        at = BEGIN + number * 7200
        for container in it.living():
            it.end(container.id, at, 0)
        run(it, at, 7200)
    assert it.digests == set(digests_in_turn[2:])
    assert [action.digest for _, action in actions(it, RemoveImage)] == digests_in_turn[:2]


def test_garbage_that_somebody_uses_is_left_for_an_hour():
    """An image that the engine does not remove is tried again an hour later, not at every pass."""
    digests_in_turn = [f"sha256:{number:064x}" for number in range(4)]
    registry = Registry([(BEGIN + number * 7200, digest) for number, digest in enumerate(digests_in_turn)])
    it = host(registry, config(count=1))
    refused = []

    def do(action, now, real=it._do):
        if isinstance(action, RemoveImage):
            refused.append(now)
            return Outcome(action, "image is being used by a container")
        return real(action, now)

    it._do = do
    for number in range(4):
        at = BEGIN + number * 7200
        for life in it.living():
            it.end(life.id, at, 0)
        run(it, at, 7200)
    first = [at for at in refused if at < BEGIN + 3 * 7200]
    assert 1 <= len(first) <= 2
    assert all(later - earlier >= 3600 for earlier, later in itertools.pairwise(first))


def test_clock_jumps():
    """A clock that jumps a year ahead and back again neither holds a slot back nor counts the year as lost."""
    it = host(Registry([(0, B)], behaviours=failing(B)), config(count=1))
    run(it, BEGIN, 600)
    year = 365 * 86400
    it.run(BEGIN + year)
    it.run(BEGIN + 700)
    it.registry.behaviours = {}
    run(it, BEGIN + 701, 120)
    assert len(it.living()) == 1
    assert sum(it.memory.lost.values()) < 2000


def test_host_asks_the_registry_rarely():
    """A host whose slots all run asks once per check_every, however often it passes."""
    it = host()
    for second in range(0, 3600, 10):
        it.run(BEGIN + second)
    assert sum(it.registry.heads.values()) == 12
    nothing = Observation({"docker": EngineDown("x")})
    assert heads_wanted(it.config, nothing, Memory(), BEGIN) == []


def test_urgency_drains_a_canary_first():
    """An urgent push drains one old slot; the others only when the new digest has proved good."""
    registry = Registry([(0, A), (BEGIN + 600, B)], behaviours={B: Behaviour(urgency="now")})
    it = host(registry, config(count=4))
    run(it, BEGIN, 1200)
    assert len(actions(it, Drain)) == 1
    run(it, BEGIN + 1200, 3 * 3600)
    assert len(actions(it, Drain)) == 4
    assert digests(it) == [B]


def test_urgency_by_a_date_is_spread():
    """Until a date the turns of the slots are spread over the time left, and all are over in time."""
    date = datetime.datetime.fromtimestamp(BEGIN + 10 * 3600, datetime.UTC).isoformat()
    registry = Registry([(0, A), (BEGIN + 600, B)], behaviours={B: Behaviour(urgency=date)})
    it = host(registry, config(count=8, rollout={"rings": [{"share": "100%", "after": "100d"}]}))
    run(it, BEGIN, 11 * 3600, every=300)
    turns = [at for at, _ in actions(it, Drain)]
    assert len(turns) == 8 and turns[-1] <= 10 * 3600
    assert turns[-1] - turns[0] > 2 * 3600
    assert digests(it) == [B]


@pytest.mark.parametrize("source", ["label", "key"])
def test_urgency_lifts_the_rings(source):
    """An urgent digest does not wait for its ring, whether its label or the fleet's key says so."""
    behaviours = {B: Behaviour(urgency="now")} if source == "label" else {}
    registry = Registry([(0, A), (BEGIN + 600, B)], behaviours=behaviours)
    it = host(registry, config(rollout={"rings": [{"share": "100%", "after": "100d"}]}))
    run(it, BEGIN, 3600)
    if source == "key":
        assert digests(it) == [A]
        it.memory = learning.fleet(it.memory, Fleet(urgency="now"), BEGIN + 3600)
    run(it, BEGIN + 3600, 7200)
    assert digests(it) == [B]


def test_bad_urgent_push_costs_one_slot():
    """An urgent push that fails never reaches the second slot."""
    registry = Registry([(0, A), (BEGIN + 600, B)], behaviours={B: Behaviour(urgency="now", fails_after=1)})
    it = host(registry, config(count=4))
    run(it, BEGIN, 12 * 3600)
    assert len(actions(it, Drain)) == 1
    assert digests(it) == [A]


def test_surplus_slot_runs_on():
    """A slot that the configuration no longer has is left alone, and not refilled when it ends."""
    it = host(of=config(count=2))
    it.run(BEGIN)
    it.config = config(count=1)
    it.run(BEGIN + 60)
    assert it.reasons["wn-02"].code == "surplus"
    second = next(container for container in it.living() if container.slot == "wn-02")
    it.end(second.id, BEGIN + 120, 0)
    it.run(BEGIN + 120)
    assert len(it.living()) == 1
