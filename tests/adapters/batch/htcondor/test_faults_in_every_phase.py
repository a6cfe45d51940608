"""Each fault of each daemon in each phase of a life: the payloads that it costs, the condition, and the exit code.

Everything but the process table and HTCondor itself is real: the observation, the core, the last words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest

from autopilot.adapters.batch.htcondor import daemon_troubles
from autopilot.adapters.batch.htcondor.daemons import Daemons
from autopilot.app.container_info import ContainerInfo
from autopilot.app.last_words import LastWords
from autopilot.machines import cues
from autopilot.runtime.simulated_world import SimulatedWorld
from tests.adapters.batch.htcondor.test_node_state import ObservedNode
from tests.machines.plans import get_finish
from tests.machines.test_core import build_node_plan

WHOLE = Daemons(5, 7, (8,), frozenset(), shared_port=6, procd=9)
PIDS = {"startd": 7, "starter": 8, "shared_port": 6, "procd": 9}
PHASES = ("idle", "busy", "draining", "stopping")


@dataclass(frozen=True)
class Verdict:
    lost: int
    conditions: tuple[str, ...]
    code: int


def apply_fault(daemons: Daemons, daemon: str, fault: str) -> Daemons:
    if fault == "stopped":
        return replace(daemons, stopped=frozenset({PIDS[daemon]}))
    if daemon == "shared_port":
        return replace(daemons, shared_port=None)
    if daemon == "procd":
        return replace(daemons, procd=None)
    if daemon == "startd":
        return replace(daemons, startd=None, starters=())  # condor_master kills its family
    return replace(daemons, starters=())


def expect(phase: str, daemon: str, fault: str) -> Verdict:
    """Return the verdict that the documents promise (docs/htcondor.md)."""
    is_helper = daemon in ("shared_port", "procd")
    lost = int(fault == "killed" and not is_helper and phase != "idle")
    conditions: tuple[str, ...] = ()
    if fault == "killed" and is_helper and phase != "stopping":
        conditions = ("helper-down",)
    if fault == "stopped" and daemon != "startd":  # its silence is a condition of its own
        conditions = ("daemon-stopped",)
    return Verdict(lost, conditions, 75 if lost else 0)


FAULTS = [
    (phase, daemon, fault)
    for phase, daemon, fault in product(PHASES, PIDS, ("killed", "stopped"))
    if not (phase == "idle" and daemon == "starter")
]


@pytest.mark.parametrize(("phase", "daemon", "fault"), FAULTS)
def test_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, daemon: str, fault: str) -> None:
    """No payload that was lost is hidden: it counts as killed, and the life ends with 75."""
    node = ObservedNode(tmp_path, monkeypatch)
    words = LastWords(tmp_path / "state", ContainerInfo("", "", "", "", "", ""), "life", lambda _: None)
    world = SimulatedWorld(build_node_plan(), drain_duration=20).run(10)
    whole = replace(WHOLE, starters=()) if phase == "idle" else WHOLE
    node.observe((0, whole), (1, whole))
    if phase == "draining":
        node.cues.append(cues.RequestReceived("drain", "autopilot drain"))
    if phase == "stopping":
        node.state.evicting = True
        node.cues.append(cues.RequestReceived("terminate", "SIGTERM"))
    if daemon == "starter" and fault == "killed":
        node.write_log("11/28/26 08:39:48 Starter pid 8 died on signal 9 (signal 9 (Killed))\n")
    faulty = apply_fault(whole, daemon, fault)
    for now in (2.0, 4.0, 6.0, 8.0):
        node.observe((now, faulty))
        resumed = daemon_troubles.update_conditions(
            node.state.conditions, faulty, node.state.helpers_seen, now, evicting=node.state.evicting
        )
    verdict = expect(phase, daemon, fault)
    assert resumed == ((PIDS[daemon],) if verdict.conditions == ("daemon-stopped",) else ())
    for cue in node.cues:
        world.feed(cue)
    if phase in ("idle", "busy"):
        world.feed(cues.RequestReceived("terminate", "SIGTERM"))
    outcome = get_finish(world.run(1000)).outcome
    for _, effect in sorted([*world.events, *world.actions], key=lambda pair: pair[0]):
        words.on_effect(effect)
    words.finish(outcome)
    record = json.loads((tmp_path / "state" / "last-words.json").read_text())
    found = [cue.kind for cue in node.cues if isinstance(cue, cues.ConditionDetected)]
    assert Verdict(int("payloads lost: 1" in outcome.detail), tuple(found), outcome.code) == verdict
    ends_by_eviction = phase in {"busy", "stopping"}  # a stop that gives a payload back counts it as killed, too
    assert record["payloads_killed"] == int(verdict.lost or ends_by_eviction)


def test_helpers_that_an_image_does_not_run() -> None:
    """A node without condor_procd or condor_shared_port misses neither."""
    bare = Daemons(5, 7)
    seen = daemon_troubles.HelpersSeen().update(bare)
    assert daemon_troubles.describe_missing(bare, seen) is None
    assert daemon_troubles.describe_missing(Daemons(), seen.update(WHOLE)) is None
    assert seen.update(WHOLE).update(Daemons()) == daemon_troubles.HelpersSeen()
