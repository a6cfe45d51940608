"""Troubles are told while slots run well, too: pulls, refusals, registries, and dead containers that stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from autopilot_watchdog.cli.status_document import build_image_rows, build_order_rows
from autopilot_watchdog.core import memory_updates
from autopilot_watchdog.core.decide import decide
from autopilot_watchdog.core.image_troubles import count_failed_preparations, list_image_troubles
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory, KnownGood, Memory, Quarantine
from autopilot_watchdog.core.observation import Container, EngineDown, EngineView, Observation
from autopilot_watchdog.core.slot_actions import Outcome, RemoveContainer, Start
from autopilot_watchdog.engine.container_request import DIGEST_LABEL, IMAGE_LABEL, SLOT_LABEL
from autopilot_watchdog.engine.docker_answers import parse_container

from lab.tiny_images import format_healthy_script
from tests.watchdog.scenes import BEGIN, IMAGE, KEY, A, B, build_config
from tests.watchdog.site import Site, eventually
from tests.watchdog.test_engines import get_slot

CONFIG = build_config(count=1)
GOOD = ImageMemory(
    newest=B,
    answered_at=BEGIN,
    asked_at=BEGIN,
    records={A: DigestRecord(BEGIN), B: DigestRecord(BEGIN, tries=4, not_before=BEGIN + 90, trouble="no space")},
    known_good=(KnownGood(A, BEGIN),),
)


def test_failed_pull_is_told() -> None:
    """The failed pull of the newest digest is a trouble of the image, with tries, next try and cause."""
    (sentence,) = list_image_troubles(GOOD, BEGIN)
    assert sentence == f"the preparation of {B[:19]} failed 4 times in a row, the next try is in 1m30s: no space"
    assert count_failed_preparations(GOOD) == 4
    assert list(list_image_troubles(replace(GOOD, pin=A), BEGIN)) == [], "a pinned image does not take the newest"


def test_troubles_of_registry_and_quarantine() -> None:
    """A silent registry and a quarantined newest digest are troubles, too."""
    image = replace(GOOD, trouble="connection refused", quarantine={B: Quarantine(BEGIN, "it failed")})
    assert list(list_image_troubles(image, BEGIN + 60)) == [
        "the registry last answered 1m ago: connection refused",
        f"the newest {B[:19]} is quarantined: it failed",
    ]


def test_status_document_has_everything_about_an_image() -> None:
    """The JSON status has newest, good, pin, next, quarantine and troubles of each image."""
    image = replace(GOOD, quarantine={B: Quarantine(BEGIN, "it failed")})
    (row,) = build_image_rows(CONFIG, Memory(images={KEY: image}), BEGIN)
    assert (row["image"], row["engine"], row["newest"], row["good"], row["pin"]) == (IMAGE, "docker", B, A, None)
    assert (row["next"], row["next_reason"]) == (A, "the last good one")
    quarantine = row["quarantine"]
    assert isinstance(quarantine, dict) and quarantine[B]["reason"] == "it failed"
    assert row["troubles"] == [f"the newest {B[:19]} is quarantined: it failed"]


DEAD = Container("dead1", "wn-01-x", "docker", "wn-01", A, IMAGE, "exited", BEGIN - 10, BEGIN)


def observe(*containers: Container) -> Observation:
    """Return a look at the host with these containers and both images on the disk."""
    return Observation({"docker": EngineView(containers, frozenset({A, B}))}, boot="1")


def test_nothing_is_started_beside_a_dead_container_that_stays() -> None:
    """After a failed removal the slot stays empty, in any later round and pass, until the container is gone."""
    image = replace(GOOD, records={A: DigestRecord(BEGIN), B: DigestRecord(BEGIN)})
    decision = decide(CONFIG, observe(DEAD), Memory(images={KEY: image}), BEGIN)
    (removal,) = [action for action in decision.actions if isinstance(action, RemoveContainer)]
    failed = Outcome(removal, error="device or resource busy")
    memory = memory_updates.apply_outcome(CONFIG, decision.memory, failed, BEGIN)
    for later in (0.0, 1.0, 3600.0):
        decision = decide(CONFIG, observe(DEAD), memory, BEGIN + later)
        assert decision.reasons["wn-01"].code == "unremovable"
        assert "device or resource busy" in decision.reasons["wn-01"].sentence
        assert removal in decision.actions and not any(isinstance(action, Start) for action in decision.actions)
        assert decision.wake_at is not None and decision.wake_at <= BEGIN + later + 10
        memory = memory_updates.apply_outcome(CONFIG, decision.memory, failed, BEGIN + later)
    assert build_order_rows(memory)["unremovable"] == {
        "dead1": {"slot": "wn-01", "since": BEGIN, "sentence": "device or resource busy"}
    }
    down = Observation({"docker": EngineDown("cannot reach docker")}, boot="1")
    assert decide(CONFIG, down, memory, BEGIN + 3601).memory.stuck == memory.stuck
    decision = decide(CONFIG, observe(), memory, BEGIN + 3602)
    assert not decision.memory.stuck and any(isinstance(action, Start) for action in decision.actions)


@pytest.mark.parametrize(
    ("health", "shown"),
    [
        ({"Status": "unhealthy", "Log": [{"Output": "old"}, {"Output": "no\n"}]}, "which printed last: no"),
        ({"Status": "unhealthy", "Log": None}, "docker's health check fails"),
        ({"Status": "healthy"}, ""),
        ({"Status": "none"}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_health_of_the_engine_is_shown(health: object, shown: str) -> None:
    """A container that the engine calls unhealthy runs on, and the reason of its slot tells the check's last output."""
    labels = {SLOT_LABEL: "wn-01", DIGEST_LABEL: A, IMAGE_LABEL: IMAGE}
    document = {"Name": "/wn-01-x", "State": {"Status": "running", "Health": health}, "Config": {"Labels": labels}}
    container = parse_container({"Id": "id1"}, document, "docker", {})
    reason = decide(CONFIG, observe(container), Memory(images={KEY: GOOD}), BEGIN).reasons["wn-01"]
    assert reason.code == ("unhealthy" if shown else "running")
    assert reason.sentence.startswith(f"wn-01-x runs {A[:19]}") and reason.sentence.endswith(shown)


@pytest.mark.real("docker", "registry")
def test_failed_pull_of_a_running_slot(docker_site: Site) -> None:
    """While the slot runs the old image, `status` and `explain` tell that the new one cannot be pulled."""
    site = docker_site
    site.push_image()
    site.run_once()
    before = {path for path in site.registry.folder.glob("data/**/blobs/**/data")}
    new = site.push_image(format_healthy_script("# new\nsleep 100000"), bulk=2_000_000)
    layer = max(set(site.registry.folder.glob("data/**/blobs/**/data")) - before, key=lambda path: path.stat().st_size)
    layer.write_bytes(layer.read_bytes()[:1000])
    site.run_once(75)
    assert get_slot(site)["state"] == "running"
    for verb in (["status"], ["explain", "wn-01"]):
        assert f"the preparation of {new[:19]} failed once, " in site.run_verb(*verb).stdout
    eventually(lambda: "failed_preparations_in_a_row" in (site.folder / "watchdog.prom").read_text(), 5, "a metric")
