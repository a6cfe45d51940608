"""Random days of hosts with canaries, and the verbs that tell about them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.core import promotion
from autopilot_watchdog.core.canary_state import find_promotion
from autopilot_watchdog.core.memory import Memory, SlotMemory
from autopilot_watchdog.core.operator_orders import OrderError
from autopilot_watchdog.core.slot_actions import Start
from autopilot_watchdog.simulation.simulated_fleet import SimulatedFleet
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry
from autopilot_watchdog.watchdog_metrics import MetricsCollector
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import BEGIN, IMAGE, KEY, A, B, C, build_config
from tests.watchdog.test_canary import CANARY, CANARY_KEY, HOUR, ONE_SLOT

D = "sha256:" + "d" * 64
DIGESTS = (A, B, C, D)
RULES = st.sampled_from(["manual", "2h", {"good": 2}])


def list_wrong_starts(host: SimulatedHost, before: Memory, count: int) -> list[Start]:
    """Return the starts since then that no slot should have tried: of a quarantined digest, or of another channel's."""
    wrong = []
    for _, action in host.executed_actions[count:]:
        if not isinstance(action, Start):
            continue
        group = host.config.map_slots_to_groups()[action.slot][0]
        known = [memory.get_image(key) for memory in (before, host.memory) for key in (KEY, CANARY_KEY)]
        stable = {digest for image in known[::2] for digest in image.records}
        in_force = [find_promotion(memory, group.name) for memory in (before, host.memory)]
        promoted = {found.digest for found in in_force if found is not None}
        if group.image == IMAGE and action.digest not in stable | promoted:
            wrong.append(action)
        if all(action.digest in host.memory.get_image(key).quarantine for key in (KEY, CANARY_KEY)):
            wrong.append(action)
    return wrong


@pytest.mark.slow
@settings(deadline=None, max_examples=scale_examples(40))
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["end", "kill", "stable", "canary", "promote", "wait", "outage"]),
            st.integers(0, 3),
            st.floats(1, 2 * HOUR),
        ),
        max_size=30,
    ),
    st.sets(st.sampled_from([B, C, D]), max_size=2),
    RULES,
)
def test_any_day_with_a_canary_ends_well(day: list[tuple[str, int, float]], bad: set[str], rule: Any) -> None:
    """Whatever is pushed and promoted: no stable slot starts a canary that was not promoted, and all slots fill."""
    behaviours = {digest: DigestBehaviour(fails_after=3.0) for digest in bad}
    registry = SimulatedRegistry([(0.0, A)], behaviours=behaviours, tag_pushes={CANARY: [(0.0, A)]})
    canary = {"image": ":canary", "slots": 1, "promote": rule}
    host = SimulatedHost(build_config(count=3, group={"canary": canary}), registry)
    now = BEGIN
    for kind, number, seconds in day:
        before, count = host.memory, len(host.executed_actions)
        host.run_pass(now)
        living = host.engine.list_alive()
        if kind in ("kill", "end") and living:
            host.engine.end_container(living[number % len(living)].id, now, 137 if kind == "kill" else None)
        elif kind == "stable":
            registry.pushes.append((now, DIGESTS[number]))
        elif kind == "canary":
            registry.tag_pushes[CANARY].append((now, DIGESTS[number]))
        elif kind == "outage":
            registry.outages.append((now, now + seconds))
        elif kind == "promote":
            with contextlib.suppress(OrderError):
                host.memory, _ = promotion.promote_canary(host.memory, host.config.slots[0], "", "x", now=now)
        assert not list_wrong_starts(host, before, count)
        now += seconds
    registry.outages.clear()
    registry.pushes.append((now, A))
    registry.tag_pushes[CANARY].append((now, A))
    for _ in range(200):
        now += 60
        host.run_pass(now)
    assert len(host.engine.list_alive()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("consul", [None, {}], ids=["alone", "fleet"])
def test_passes_left_out_change_nothing_about_canaries(consul: object) -> None:
    """Passes with the same answers may be counted and not run, with canaries, rules and rings that need evidence."""
    outcomes = []
    for every_pass in (False, True):
        lives = {digest: DigestBehaviour(3 * HOUR, HOUR) for digest in (A, B, C)}
        registry = SimulatedRegistry(
            [(0, A), (BEGIN + 9 * HOUR, C)], behaviours=lives, tag_pushes={CANARY: [(0, A), (BEGIN + HOUR, B)]}
        )
        rules: dict[str, Any] = {} if consul is None else {"consul": consul}
        rings: list[dict[str, Any]] = [{"share": "20%", "after": "0s"}, {"share": "100%", "after": "1h"}]
        if consul is not None:
            rings[1]["needs"] = {"good": 3}
        canary = {**ONE_SLOT, "promote": {"good": 2, "after": "3h"}}
        hosts = [
            SimulatedHost(
                build_config(f"h{n}", 2, {"rings": rings, "spread": "10m"}, {"canary": canary}, **rules),
                registry,
                staggered=True,
            )
            for n in range(6)
        ]
        fleet = SimulatedFleet(hosts, BEGIN, every_pass=every_pass)
        fleet.run_until(BEGIN + 16 * HOUR)
        outcomes.append(
            [
                [(round(at - BEGIN), action) for at, action in host.executed_actions if isinstance(action, Start)]
                for host in hosts
            ]
        )
    assert outcomes[0] == outcomes[1]
    assert any(action.digest == B for found in outcomes[0] for _, action in found if action.slot == "wn-02")


def write_config(folder: Path, **group: Any) -> str:
    """Write a configuration with one group and return its path."""
    path = folder / "watchdog.json"
    slots = [{"name": "wn-NN", "image": IMAGE, "count": 3, **group}]
    path.write_text(json.dumps({"host": "h1", "state": str(folder / "state"), "slots": slots}))
    return str(path)


def test_check_shows_the_canary_slots(tmp_path: Path) -> None:
    """`check` names the canary slots of this host with their image and the rules."""
    path = write_config(tmp_path, canary={**ONE_SLOT, "promote": {"good": 2, "after": "6h"}})
    done = CliRunner().invoke(main, ["check", "--config", path])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"wn-02, wn-03: {IMAGE} on docker",
        f"wn-01: {CANARY} on docker, the canary (the first slot of every host; promoted after 6 h and 2 good lives)",
    ]
    path = write_config(tmp_path, canary={"image": ":canary", "hosts": ["gpu*"]})
    assert "no slot of this host" in CliRunner().invoke(main, ["check", "--config", path]).stdout
    path = write_config(tmp_path, canary={"image": ":canary"})
    done = CliRunner().invoke(main, ["check", "--config", path])
    assert done.exit_code == 78 and 'slots[0].canary: must have one of "share", "slots" and "hosts"' in done.output


def test_promote_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Without a canary, and before the first pass, `promote` ends with 64 and says the remedy."""
    done = CliRunner().invoke(main, ["promote", "--config", write_config(tmp_path)])
    assert done.exit_code == 64 and "no group of the configuration has a canary" in done.output
    done = CliRunner().invoke(main, ["promote", "--config", write_config(tmp_path, canary=ONE_SLOT)])
    assert done.exit_code == 64 and "no pass has seen it yet" in done.output


def test_metrics_count_the_slots_by_channel() -> None:
    """The metric of channels has the numbers of living containers by channel, image and digest."""
    config = build_config(count=3, group={"canary": ONE_SLOT})
    registry = SimulatedRegistry([(0, A)], tag_pushes={CANARY: [(0, B)]})
    host = SimulatedHost(config, registry)
    host.run_pass(BEGIN)
    memory = host.memory.replace_slot("wn-03", SlotMemory("x", A, BEGIN, BEGIN + 1))
    families = {family.name: family for family in MetricsCollector(config, memory, {}, BEGIN).collect()}
    samples = families["autopilot_watchdog_channel_slots"].samples
    assert [(one.labels["channel"], one.labels["digest"], one.value) for one in samples] == [
        ("canary", B, 1.0),
        ("stable", A, 1.0),
    ]


def test_simulate_pushes_to_the_canary(tmp_path: Path) -> None:
    """`simulate --tag canary` needs a canary, and its bad push reaches no stable slot."""
    words = ["simulate", "--hosts", "5", "--hours", "30", "--step", "30", "--scenario", "bad", "--tag", "canary"]
    done = CliRunner().invoke(main, [*words, "--config", write_config(tmp_path)])
    assert done.exit_code == 64 and "give a --config with a `canary`" in done.output
    path = write_config(tmp_path, canary=ONE_SLOT)
    done = CliRunner().invoke(main, [*words, "--config", path, "-o", "json", "--processes", "1"])
    (sample,) = json.loads(done.stdout)["bad"]
    assert sample["updated"] == 0.0 and sample["quarantined"] > 0
