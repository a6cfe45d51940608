"""Cordons: a cordoned slot or host is not filled, whatever else happens; its containers run on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from autopilot_watchdog.core import cordons
from autopilot_watchdog.core.cordons import CordonError
from autopilot_watchdog.core.memory import Cordon, Memory
from autopilot_watchdog.shell.state_file import StateStore
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import BEGIN, IMAGE, build_config, build_host, run_passes

BY_ALICE = Cordon(BEGIN, "alice", "new disk")
SLOTS = ["wn-01", "wn-02", "wn-03"]


def test_cordoned_slot_is_not_refilled() -> None:
    """A cordoned slot keeps its container to its end and then stays empty; the others are refilled."""
    host = build_host()
    host.run_pass(BEGIN)
    host.memory, _ = cordons.add_cordons(host.memory, ["wn-01"], BY_ALICE)
    run_passes(host, BEGIN, 600)
    assert len(host.engine.list_alive()) == 2
    for container in host.engine.list_alive():
        host.engine.end_container(container.id, BEGIN + 600, 0)
    run_passes(host, BEGIN + 600, 1200)
    assert [container.slot for container in host.engine.list_alive()] == ["wn-02"]
    reason = host.reasons["wn-01"]
    assert reason.code == "cordoned"
    assert reason.sentence == "alice cordoned the slot (new disk), so it is not filled; `uncordon wn-01` ends that"
    host.memory, _ = cordons.remove_cordons(host.memory, ["wn-01"])
    host.run_pass(BEGIN + 1800)
    assert len(host.engine.list_alive()) == 2


def test_cordoned_host_is_quiet() -> None:
    """A cordoned empty host starts and pulls nothing, and asks registries no more often than a filled one."""
    host = build_host()
    host.memory, _ = cordons.add_cordons(host.memory, [], BY_ALICE)
    run_passes(host, BEGIN, 3600)
    assert not host.executed_actions
    assert sum(host.registry.request_counts.values()) <= 13


def test_ends_of_cordons() -> None:
    """A slot inside of a cordoned host cannot be uncordoned by itself; without a name every cordon ends."""
    memory, _ = cordons.add_cordons(Memory(), [], BY_ALICE)
    with pytest.raises(CordonError, match="the whole host is"):
        cordons.remove_cordons(memory, ["wn-01"])
    memory, sentence = cordons.add_cordons(memory, ["wn-01"], BY_ALICE)
    memory, sentence = cordons.remove_cordons(memory, ["wn-01"])
    assert "still cordoned" in sentence
    memory, _ = cordons.remove_cordons(memory, [])
    assert not memory.cordons
    with pytest.raises(CordonError, match="nothing is cordoned"):
        cordons.remove_cordons(memory, [])


STEPS = st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(SLOTS), max_size=3)), max_size=8)


@settings(max_examples=scale_examples(60), deadline=None)
@given(steps=STEPS)
def test_only_cordons_keep_slots_empty(steps: list[tuple[bool, list[str]]]) -> None:
    """After any orders exactly the slots without a cordon are filled."""
    host = build_host(configuration=build_config(count=3))
    for adds, slots in steps:
        try:
            if adds:
                host.memory, _ = cordons.add_cordons(host.memory, slots, BY_ALICE)
            else:
                host.memory, _ = cordons.remove_cordons(host.memory, slots)
        except CordonError:
            continue
    host.run_pass(BEGIN)
    filled = {container.slot for container in host.engine.list_alive()}
    assert filled == {slot for slot in SLOTS if cordons.find_cordon(host.memory, slot) is None}


def test_host_is_cordoned_also_while_its_engine_is_silent(tmp_path: Path) -> None:
    """`drain --host` cordons the host even if no engine answers, and tells by its exit code that nothing was asked."""
    slots = [{"name": "wn-NN", "image": IMAGE}]
    document = {"host": "h1", "state": str(tmp_path), "slots": slots, "engines": {"docker": str(tmp_path / "none")}}
    config = tmp_path / "wd.json"
    config.write_text(json.dumps(document))
    command = [sys.executable, "-m", "autopilot_watchdog", "drain", "--config", str(config)]
    done = subprocess.run([*command, "--host", "--reason", "new disks"], capture_output=True, text=True, check=False)
    assert done.returncode == 75
    (cordon,) = StateStore(tmp_path).load().cordons.values()
    assert cordon.reason == "new disks"
    named = subprocess.run([*command, "wn-01"], capture_output=True, text=True, check=False)
    assert named.returncode == 75 and "the state of wn-01 is unknown" in named.stderr
