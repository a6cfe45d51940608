"""Pulls and questions to registries beside the passes, and parallel starts, on an engine of the test."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.config.config_reader import parse_config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core.audit_events import AuditEvent
from autopilot_watchdog.core.slot_actions import Action, Drain, Outcome, Pull, RemoveContainer, Start
from autopilot_watchdog.engine.engine import EngineUnreachableError, PullError
from autopilot_watchdog.shell.action_batch import ActionReport, EngineLost, execute_batch, split_into_batches
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.reconcile import ASK_PAUSE_S, EVENT_LAG_S, PassReport, Watchdog
from autopilot_watchdog.shell.wake_queue import WakeReason
from autopilot_watchdog.simulation.simulated_engine import SimulatedEngine
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry

from tests.watchdog.hostile_servers import CannedServer, serve_answers
from tests.watchdog.scenes import A
from tests.watchdog.site import eventually

LIMIT_S = 30.0  # of a wait that ends at once unless something is wrong
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class StubbornEngine(SimulatedEngine):
    """Engine with pulls that last until they are allowed, and starts that wait for each other."""

    def __init__(self) -> None:
        super().__init__("docker", SimulatedRegistry([(0.0, A)]))
        self.now = time.time()
        self.pulls: list[str] = []
        self.allowed = threading.Event()
        self.pull_error: Exception | None = None
        self.start_barrier: threading.Barrier | None = None
        self.lost_numbers: set[int] = set()  # slots with starts during which the engine is lost
        self.most_starts = self.current_starts = 0
        self._lock = threading.Lock()

    def pull_image(self, repository: str, digest: str, *, auth: dict[str, str] | None, timeout: float) -> None:
        """Pull a digest when that is allowed."""
        self.pulls.append(digest)
        assert self.allowed.wait(LIMIT_S)
        if self.pull_error is not None:
            raise self.pull_error
        self.digests.add(digest)

    def start_container(
        self, group: SlotGroup, number: int, digest: str, *, host: str, state_folder: str | None
    ) -> str:
        """Start a container as soon as enough other starts are under way."""
        with self._lock:
            self.current_starts += 1
            self.most_starts = max(self.most_starts, self.current_starts)
        if self.start_barrier is not None:
            self.start_barrier.wait(LIMIT_S)
        with self._lock:
            self.current_starts -= 1
            if number in self.lost_numbers:
                raise EngineUnreachableError("cannot reach docker")
            return super().start_container(group, number, digest, host=host, state_folder=state_folder)


def hash_bytes(content: bytes) -> str:
    """Return the digest of a content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Host:
    """Host with an engine and registries of the test."""

    def __init__(self, folder: Path, server: CannedServer) -> None:
        self.folder = folder
        self.server = server
        self.engine = StubbornEngine()
        self.audit = Audit(folder / "audit.jsonl")
        self.woken = threading.Event()
        self.document: dict[str, Any] = {
            "host": "h1",
            "state": str(folder / "state"),
            "registry": {"fresh": "0s", "patience": f"{LIMIT_S:.0f}s", "timeout": f"{LIMIT_S:.0f}s"},
            "rollout": {"rings": [{"share": "100%", "after": "0s"}], "spread": "0s", "patience": "0s"},
            "fitness": {"free_disk": 0},
            "failures": {"initial": "0s", "host_initial": "0s", "good_after": "0s"},
            "slots": [{"name": "wn-NN", "image": f"{server.address}/site/wn:v1"}],
        }

    def build_watchdog(self) -> Watchdog:
        """Build a watchdog on this host, as a process does."""
        (self.folder / "state").mkdir(exist_ok=True)
        watchdog = Watchdog(parse_config(json.dumps(self.document)), self.audit, self.woken.set)
        watchdog.engines["docker"] = self.engine
        return watchdog

    def push(self, content: str, name: str = "wn") -> str:
        """Push an image of this content to the registry, and return its digest."""
        config = json.dumps({"content": content}).encode()
        manifest = json.dumps({"config": {"digest": hash_bytes(config)}}).encode()
        digest = hash_bytes(manifest)
        answer = 200, {"Content-Type": MANIFEST, "Docker-Content-Digest": digest}, manifest
        self.server.answers |= {f"{name}/manifests/v1": answer, digest: answer, hash_bytes(config): (200, {}, config)}
        return digest

    def count_requests(self) -> int:
        """Return the number of questions for a tag's digest."""
        return sum(method == "HEAD" for method, _, _ in self.server.requests)

    def end_container(self, slot: str) -> None:
        """End a slot's container in good order."""
        (container,) = (found for found in self.engine.list_alive() if found.slot == slot)
        self.engine.end_container(container.id, time.time(), 0)

    def await_pulls(self, *digests: str) -> None:
        """Wait for the begin of these pulls, which threads beside the passes begin; no other pull may begin."""
        eventually(lambda: len(self.engine.pulls) >= len(digests), LIMIT_S, f"{len(digests)} pulls have begun")
        assert self.engine.pulls == list(digests)

    def list_alive(self) -> list[tuple[str, str]]:
        """Return slot and digest of the living containers."""
        return sorted((container.slot, container.digest) for container in self.engine.list_alive())

    def read_audit(self, event: AuditEvent) -> list[dict[str, Any]]:
        """Return the entries of an event."""
        entries = [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]
        return [entry for entry in entries if entry["event"] == event]


@contextlib.contextmanager
def open_host(folder: Path) -> Iterator[Host]:
    """Set up a host with one slot, and a registry."""
    with serve_answers({}) as server:
        found = Host(folder, server)
        yield found
        found.engine.allowed.set()
        found.audit.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Set up a host with one slot."""
    with open_host(tmp_path) as found:
        yield found


def advance(watchdog: Watchdog, **options: Any) -> PassReport:
    """Do all that is possible now, as `watch` does."""
    with watchdog.store.lock():
        return watchdog.advance(**options)


def finish_work(host: Host, watchdog: Watchdog) -> PassReport:
    """Wait for the work beside the passes and run passes that take its results."""
    report = None
    end = time.monotonic() + LIMIT_S
    while report is None or watchdog.is_work_pending:
        assert time.monotonic() < end
        assert host.woken.wait(LIMIT_S)
        host.woken.clear()
        report = advance(watchdog, asks_registries=False)
    return report


def fill_slots(host: Host, watchdog: Watchdog) -> None:
    """Fill all slots; from then on no pull is allowed."""
    host.engine.allowed.set()
    watchdog.run_pass()
    host.woken.clear()
    assert host.list_alive()
    host.engine.allowed.clear()
    host.engine.pulls.clear()


def test_other_slots_are_filled_during_a_pull(host: Host) -> None:
    """While one image is pulled, the slots of another are filled, the lock is free, and the reason tells the pull."""
    ready, slow = host.push("ready"), host.push("slow", "slow")
    fill_slots(host, host.build_watchdog())
    host.document["slots"].append({"name": "slow-NN", "image": f"{host.server.address}/site/slow:v1", "count": 2})
    watchdog = host.build_watchdog()
    for _ in range(3):
        report = advance(watchdog)
        assert host.list_alive() == [("wn-01", ready)] and watchdog.is_work_pending
        host.await_pulls(slow)  # one for all slots and passes
        assert report.reasons["slow-02"].code == "preparing" and not report.problems
        assert f"pulls {slow[:19]} since " in report.reasons["slow-02"].sentence
        host.end_container("wn-01")
    host.engine.allowed.set()
    finish_work(host, watchdog)
    assert [slot for slot, _ in host.list_alive()] == ["slow-01", "slow-02", "wn-01"]
    assert len(host.read_audit(AuditEvent.PULL)) == 2


def prove_good(host: Host, watchdog: Watchdog) -> str:
    """Fill the slot with an image that proves good, and return its digest."""
    old = host.push("old")
    fill_slots(host, watchdog)
    advance(watchdog)
    return old


def test_late_answer_and_the_fleets_order(host: Host) -> None:
    """A digest that comes with a late answer of its registry is not started if the fleet has quarantined it."""
    digest = host.push("bad")
    order = {"Key": f"autopilot-watchdog/quarantine/{digest}", "Value": base64.b64encode(b"by alice").decode()}
    with serve_answers({"kv/autopilot-watchdog/": (200, {}, json.dumps([order]).encode())}) as consul:
        host.document["registry"]["patience"] = "0s"
        host.document["consul"] = {"address": f"http://{consul.address}"}
        host.engine.allowed.set()
        host.server.awake.clear()
        watchdog = host.build_watchdog()
        assert advance(watchdog).reasons["wn-01"].code == "no-image"
        assert host.woken.wait(LIMIT_S), "Consul has answered"
        advance(watchdog, asks_registries=False)
        host.document["registry"]["patience"] = f"{LIMIT_S:.0f}s"
        watchdog.use_config(parse_config(json.dumps(host.document)))
        watchdog.engines["docker"] = host.engine
        host.server.awake.set()
        report = finish_work(host, watchdog)
    (image,) = report.memory.images.values()
    assert image.newest == digest and image.quarantine[digest].reason == "by alice"
    assert host.list_alive() == [] and not host.engine.pulls


@pytest.mark.parametrize("patience", ["0s", "1h"])
def test_patience_with_a_pull(host: Host, patience: str) -> None:
    """An empty slot waits for the pull of a newer digest as long as it may, then it takes the last good one."""
    host.document["rollout"]["patience"] = patience
    watchdog = host.build_watchdog()
    old = prove_good(host, watchdog)
    new = host.push("new")
    host.document["registry"]["check_every"] = "0s"
    watchdog = host.build_watchdog()
    advance(watchdog)
    host.await_pulls(new)
    host.end_container("wn-01")
    report = advance(watchdog, asks_registries=False)
    if patience == "0s":
        assert host.list_alive() == [("wn-01", old)]
        host.engine.allowed.set()
        finish_work(host, watchdog)
    else:
        assert not host.list_alive() and report.reasons["wn-01"].code == "preparing"
        assert report.wake_at is not None
        host.engine.allowed.set()
        finish_work(host, watchdog)
        assert host.list_alive() == [("wn-01", new)]
    assert host.engine.pulls == [new]


def test_two_watchdogs_pull_once(host: Host) -> None:
    """A digest that one process pulls is not pulled by another one, which ends and does not wait."""
    digest = host.push("x")
    first, second = host.build_watchdog(), host.build_watchdog()
    advance(first)
    report = advance(second)
    host.await_pulls(digest)
    assert not second.is_work_pending
    assert report.reasons["wn-01"].code == "preparing"
    host.engine.allowed.set()
    finish_work(host, first)
    advance(second)
    assert host.engine.pulls == [digest] and host.list_alive() == [("wn-01", digest)]


@pytest.mark.parametrize("error", [PullError("disk full"), EngineUnreachableError("cannot reach docker")], ids=repr)
def test_failed_pull(host: Host, error: Exception) -> None:
    """A pull that fails beside a pass is a problem of the pass that takes it, and waits before its next try."""
    digest = host.push("x")
    host.engine.pull_error = error
    host.engine.allowed.set()
    watchdog = host.build_watchdog()
    assert watchdog.run_pass().problems == (str(error),)
    advance(watchdog)
    assert host.engine.pulls == [digest]
    key = f"docker {host.server.address}/site/wn:v1"
    assert watchdog.store.load().images[key].records[digest].tries == 1


def test_success_of_passes_that_are_one(host: Host) -> None:
    """A run whose pull fails is no success, though all slots were filled and well when it began."""
    watchdog = host.build_watchdog()
    prove_good(host, watchdog)
    before = watchdog.store.load().last_success
    assert before
    host.push("new")
    host.document["registry"]["check_every"] = "0s"
    watchdog = host.build_watchdog()
    host.engine.pull_error = PullError("disk full")
    report = watchdog.run_pass(lambda report: host.engine.allowed.set())
    assert report.problems == ("disk full",)
    assert watchdog.store.load().last_success == report.memory.last_success == before


def test_hanging_registry(host: Host) -> None:
    """A registry that hangs is asked once, and holds up no slot: the last answer is used."""
    digest = host.push("x")
    host.document["registry"]["patience"] = "0s"
    watchdog = host.build_watchdog()
    fill_slots(host, watchdog)
    asked = host.count_requests()
    host.server.awake.clear()
    for _ in range(3):
        host.end_container("wn-01")
        advance(watchdog)
        assert host.list_alive() == [("wn-01", digest)] and watchdog.is_work_pending
    new = host.push("new")
    host.server.awake.set()
    host.engine.allowed.set()
    finish_work(host, watchdog)
    assert host.count_requests() == asked + 1
    assert host.engine.pulls == [new], "the late answer counts"


def test_registry_that_was_not_asked(host: Host) -> None:
    """A pass that may not ask a registry whose answer is too old wakes `watch` soon for one that may; others do not."""
    host.push("x")
    watchdog = host.build_watchdog()
    fill_slots(host, watchdog)
    report = advance(watchdog)
    assert report.wake_at is None or report.wake_at > time.time() + 60
    host.document["registry"]["check_every"] = "0s"
    watchdog = host.build_watchdog()
    report = advance(watchdog, asks_registries=False)
    assert report.wake_at is not None and report.wake_at <= time.time() + ASK_PAUSE_S


def test_reasons_that_are_news(host: Host) -> None:
    """An event from before the last look and a result that was taken need no further pass; later ones and orders do."""
    host.push("x")
    watchdog = host.build_watchdog()
    before = time.monotonic()
    assert watchdog.is_news(WakeReason.ENGINE, before), "nothing was looked at"
    fill_slots(host, watchdog)
    after = time.monotonic()
    assert not watchdog.is_news(WakeReason.ENGINE, before - EVENT_LAG_S)
    assert watchdog.is_news(WakeReason.ENGINE, after) and watchdog.is_news(WakeReason.ORDER, before)
    assert not watchdog.is_news(WakeReason.WORK, after), "the registry's answer and the pull were used"
    new = host.push("new")
    host.document["registry"] |= {"check_every": "0s", "patience": "0s"}
    watchdog = host.build_watchdog()
    host.server.awake.clear()  # so that its answer comes after this pass
    advance(watchdog)
    host.server.awake.set()
    eventually(lambda: watchdog.is_news(WakeReason.WORK, after), LIMIT_S, "the answer is news")
    assert host.woken.wait(LIMIT_S)
    host.engine.allowed.set()
    finish_work(host, watchdog)
    assert host.engine.pulls == [new] and not watchdog.is_news(WakeReason.WORK, after)


def test_failing_registry_is_not_waited_for(host: Host) -> None:
    """After a failure no pass waits for the registry, however long its patience is; its recovery is seen."""
    digest = host.push("x")
    watchdog = host.build_watchdog()
    fill_slots(host, watchdog)
    host.server.answers.clear()
    host.end_container("wn-01")
    advance(watchdog)
    host.server.awake.clear()
    host.end_container("wn-01")
    begin = time.monotonic()
    advance(watchdog)
    assert time.monotonic() - begin < LIMIT_S / 2
    assert host.list_alive() == [("wn-01", digest)]
    host.push("x")
    host.server.awake.set()
    finish_work(host, watchdog)
    assert len(host.read_audit(AuditEvent.REGISTRY_FAILED)) == len(host.read_audit(AuditEvent.REGISTRY_RECOVERED)) == 1


def test_parallel_starts(host: Host) -> None:
    """As many starts as configured are under way at once, and the audit log has them all in the order of the slots."""
    digest = host.push("x")
    host.engine.start_barrier = threading.Barrier(4)
    host.document["slots"][0]["count"] = 12
    host.document["parallel_starts"] = 4
    watchdog = host.build_watchdog()
    fill_slots(host, watchdog)
    memory = watchdog.store.load()
    slots = [f"wn-{number:02}" for number in range(1, 13)]
    assert host.list_alive() == [(slot, digest) for slot in slots]
    assert host.engine.most_starts == 4
    assert [entry["slot"] for entry in host.read_audit(AuditEvent.START)] == slots
    assert {memory.slots[container.slot].container for container in host.engine.list_alive()} == {
        container.id for container in host.engine.list_alive()
    }


def test_engine_lost_during_parallel_starts(host: Host) -> None:
    """After the engine is lost no start is begun; those that were under way are remembered, the others come later."""
    host.push("x")
    watchdog = host.build_watchdog()
    fill_slots(host, watchdog)
    host.end_container("wn-01")
    host.engine.lost_numbers = {2}
    host.document["slots"][0]["count"] = 6
    host.document["parallel_starts"] = 2
    watchdog = host.build_watchdog()
    report = advance(watchdog)
    assert report.problems == ("cannot reach docker",)
    alive = host.engine.list_alive()
    assert "wn-02" not in {container.slot for container in alive}
    assert {container.id for container in alive} == {slot.container for slot in report.memory.slots.values()} - {""}
    host.engine.lost_numbers = set()
    assert not advance(watchdog).problems
    assert len(host.list_alive()) == 6


def test_no_action_after_a_lost_engine() -> None:
    """The actions of a batch that follow the loss of an engine are left."""
    actions = [Start(f"wn-0{number}", A) for number in range(5)]

    def execute(action: Action) -> Outcome:
        if action == actions[2]:
            raise EngineUnreachableError("gone")
        return Outcome(action)

    reports = list(execute_batch(actions, execute, 1))
    assert reports[2:] == [EngineLost("gone")]
    assert [report.outcome.action for report in reports if isinstance(report, ActionReport)] == actions[:2]


def test_batches() -> None:
    """Removals come first, with one container of a slot at a time; starts come last; the rest is done one by one."""
    removals = [
        RemoveContainer(f"c{n}", slot, "docker", "", "", "") for n, slot in enumerate(["a", "b", "a", "a", "b"])
    ]
    starts = [Start("b", A), Start("a", A)]
    drains = [Drain("c8", "c", "docker"), Drain("c9", "d", "docker")]
    actions: list[Action] = [starts[0], drains[0], Pull("x", A), *removals, drains[1], starts[1]]
    assert split_into_batches(actions) == [
        [removals[0], removals[1]],
        [removals[2], removals[4]],
        [removals[3]],
        [drains[0]],
        [drains[1]],
        starts,
    ]
    assert split_into_batches([]) == [[]]
