"""Questions to Consul beside the passes."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from autopilot_watchdog.core.memory import ImageMemory, Memory, Quarantine
from autopilot_watchdog.core.observation import FleetState
from autopilot_watchdog.core.slot_actions import ShareQuarantine
from autopilot_watchdog.shell.fleet_questions import FleetQuestions
from autopilot_watchdog.shell.fleet_store import FleetStore

from tests.watchdog.hostile_servers import CannedServer, serve_answers
from tests.watchdog.scenes import KEY, B, build_config
from tests.watchdog.site import eventually
from tests.watchdog.test_beside_passes import LIMIT_S, Host, advance, fill_slots, finish_work, open_host

NOTHING: tuple[int, dict[str, str], bytes] = (200, {}, b"[]")
QUARANTINED = Memory(images={KEY: ImageMemory(quarantine={B: Quarantine(1.0, "failed")})})


def build_urgency() -> tuple[int, dict[str, str], bytes]:
    """Build Consul's answer with an urgency."""
    item = {"Key": "autopilot-watchdog/urgency", "Value": base64.b64encode(b"now").decode()}
    return 200, {}, json.dumps([item]).encode()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Set up a host with one slot and a registry."""
    with open_host(tmp_path) as found:
        yield found


def count_questions(consul: CannedServer) -> int:
    """Return the number of questions for the fleet's state."""
    return sum(method == "GET" for method, _, _ in consul.requests)


@pytest.fixture
def consul() -> Iterator[CannedServer]:
    """Serve a Consul without keys."""
    with serve_answers({"/": NOTHING}) as found:
        yield found


def build_questions(consul: CannedServer, timeout: str = "30s") -> tuple[FleetQuestions, FleetStore]:
    """Build questions to this Consul."""
    store = FleetStore(build_config(consul={"address": f"http://{consul.address}", "timeout": timeout}))
    return FleetQuestions(store, lambda: None), store


def test_slots_do_not_wait_for_consul(host: Host, consul: CannedServer) -> None:
    """A Consul that hangs is asked once and holds up no slot; its late answer counts, and costs no second question."""
    host.push("x")
    host.document["registry"]["patience"] = "0s"
    host.document["consul"] = {"address": f"http://{consul.address}", "timeout": "30s"}
    watchdog = host.build_watchdog()
    fill_slots(host, watchdog)
    consul.awake.clear()
    asked = count_questions(consul)
    for _ in range(3):
        host.end_container("wn-01")
        advance(watchdog)
        assert host.list_alive() and watchdog.is_work_pending
    consul.answers["/"] = build_urgency()
    eventually(lambda: watchdog._questions.has_answers, LIMIT_S, "the registry has answered")
    consul.awake.set()
    report = finish_work(host, watchdog)
    assert report.memory.urgency == "now" and count_questions(consul) == asked + 1


def test_a_run_waits_for_consul(host: Host, consul: CannedServer) -> None:
    """A run that has asked Consul takes its answer, however late, before it ends."""
    host.push("x")
    host.document["registry"]["patience"] = "0s"
    host.document["consul"] = {"address": f"http://{consul.address}", "timeout": "30s"}
    consul.answers["/"] = build_urgency()
    host.engine.allowed.set()
    assert host.build_watchdog().run_pass().memory.urgency == "now"


def test_answer_at_once(consul: CannedServer) -> None:
    """A pass has the answer of a Consul that is well."""
    questions, store = build_questions(consul)
    for _ in range(3):
        questions.ask(Memory(), patience_s=LIMIT_S)
        assert questions.take_answer(Memory()) == FleetState()
        assert not questions.is_pending and not store.is_silent


@pytest.mark.parametrize("order", ["quarantine", "release"])
def test_answer_older_than_an_order(consul: CannedServer, order: str) -> None:
    """An answer that was under way while this host's quarantines changed does not count; the next one does."""
    before, after = (Memory(), QUARANTINED) if order == "quarantine" else (QUARANTINED, Memory())
    questions, _ = build_questions(consul)
    consul.awake.clear()
    questions.ask(before, patience_s=0.0)
    consul.awake.set()
    eventually(lambda: questions.has_answer, LIMIT_S, "it has answered")
    assert questions.take_answer(after) is None and not questions.is_pending
    questions.ask(after, patience_s=LIMIT_S)
    assert questions.take_answer(after) == FleetState()


def test_nothing_is_told_to_a_silent_consul(consul: CannedServer) -> None:
    """While Consul answers no question, nothing is told to it, also after the time limit of the question."""
    questions, store = build_questions(consul, "200ms")
    consul.awake.clear()
    for _ in range(2):
        questions.ask(Memory(), patience_s=0.0)
        assert "does not answer in time" in store.share_quarantine(ShareQuarantine(KEY, B, "failed"))
        eventually(lambda: questions.has_answer, LIMIT_S, "the time is over")
        assert questions.take_answer(Memory()) is None and store.is_silent


def test_all_is_told_after_an_answer(consul: CannedServer) -> None:
    """A Consul that was silent and answers again is told all; no pass waits for it before."""
    questions, store = build_questions(consul, "600s")
    consul.awake.clear()
    questions.ask(Memory(), patience_s=0.0)
    begin = time.monotonic()
    FleetQuestions(store, lambda: None).ask(Memory(), patience_s=10 * LIMIT_S)
    assert time.monotonic() - begin < LIMIT_S
    consul.answers["failed/h1"] = (200, {}, b"true")
    consul.awake.set()
    eventually(lambda: questions.has_answer, LIMIT_S, "it has answered")
    assert questions.take_answer(Memory()) == FleetState() and not store.is_silent
    assert store.share_quarantine(ShareQuarantine(KEY, B, "failed")) == ""


def test_refused_connections_are_no_silence() -> None:
    """A Consul that is not there is found out at once, so its return is not missed."""
    store = FleetStore(build_config(consul={"address": "http://127.0.0.1:1"}))
    questions = FleetQuestions(store, lambda: None)
    for _ in range(2):
        questions.ask(Memory(), patience_s=LIMIT_S)
        assert questions.take_answer(Memory()) is None and not store.is_silent
