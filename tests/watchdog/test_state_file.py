"""The memory on disk: newer formats are refused, damaged files are kept; `last_success` is the last good pass."""

from __future__ import annotations

import errno
import json
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.decide import decide
from autopilot_watchdog.core.memory import FORMAT_VERSION, Memory
from autopilot_watchdog.core.observation import (
    Container,
    EngineDown,
    EngineView,
    Observation,
    RegistryFailure,
    TagDigest,
)
from autopilot_watchdog.engine.engine import PullError
from autopilot_watchdog.regular_files import replace_own_file
from autopilot_watchdog.shell import state_file
from autopilot_watchdog.shell.audit import Audit
from autopilot_watchdog.shell.reconcile import Watchdog
from autopilot_watchdog.shell.state_file import StateError, StateStore, explain_os_error
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry
from click.testing import CliRunner

from tests.watchdog.hostile_servers import serve_answers
from tests.watchdog.scenes import (
    BEGIN,
    IMAGE,
    KEY,
    A,
    B,
    build_config,
    build_failing_behaviour,
    build_host,
    run_passes,
)
from tests.watchdog.test_hostile_neighbours import CONFIG_DIGEST, DEEP, build_answers

NOW = 1_800_000_000.0
NEWER = json.dumps({"format": FORMAT_VERSION + 1, "paused": True, "new": []})


@pytest.mark.parametrize("verb", [["run"], ["run", "--dry-run"], ["status"], ["explain", "wn-01"], ["pause"]])
def test_newer_format_is_refused(tmp_path: Path, verb: list[str]) -> None:
    """Every verb refuses the state of a newer watchdog with a sentence, and leaves it as it is."""
    config = tmp_path / "wd.json"
    slots = [{"name": "wn-NN", "image": IMAGE, "engine": "docker"}]
    engines = {"docker": str(tmp_path / "none.sock")}
    config.write_text(json.dumps({"state": str(tmp_path), "slots": slots, "engines": engines}))
    (tmp_path / "state.json").write_text(NEWER)
    done = CliRunner().invoke(main, [verb[0], "--config", str(config), *verb[1:]])
    assert done.exit_code == 73
    assert "a newer watchdog wrote it (format 3, this one knows 2)" in done.output
    assert (tmp_path / "state.json").read_text() == NEWER


DAMAGED = ["", "[]", "null", "{", '{"format": 0}', '{"format": "2"}', '{"format": 1, "slots": []}', DEEP.decode()]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:20])
def test_damaged_copies_are_kept_apart(tmp_path: Path, text: str) -> None:
    """Each damaged state is kept under a name of its own, and the next pass begins anew."""
    store = StateStore(tmp_path)
    for number in (1, 2, 3):
        (tmp_path / "state.json").write_text(f"{text} " * number)
        with pytest.raises(StateError, match=f"kept as .*damaged-{number}"):
            store.load()
        assert store.load() == Memory()
    kept = sorted(tmp_path.glob("*.damaged-*"))
    assert [path.read_text() for path in kept] == [f"{text} " * number for number in (1, 2, 3)]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: text[:20])
def test_copy_is_used_after_a_damage(tmp_path: Path, text: str) -> None:
    """After a damage the next pass goes on with the copy of the state; verbs that only look use that one at once."""
    store = StateStore(tmp_path)
    saved = Memory(paused=True, last_pass=3.0)
    for memory in (Memory(), saved):
        store.save(memory)
    for number in (1, 2):
        (tmp_path / "state.json").write_text(text)
        assert store.peek() == saved
        with pytest.raises(StateError, match="the next pass goes on with the copy of the state"):
            store.load()
        assert store.load() == saved and (tmp_path / f"state.damaged-{number}").read_text() == text
    (tmp_path / "state.json").write_text(text)
    (tmp_path / "state.copy").write_text(text)
    with pytest.raises(StateError, match="the next pass begins anew"):
        store.load()
    assert store.load() == Memory()


def test_old_copy_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that cannot be written is none: an older one would bring back orders that were ended."""

    def replace_all_but_copy(path: Path, data: bytes, *, sync: bool = False) -> None:
        if path.suffix == ".copy":
            raise OSError(errno.EIO, "Input/output error")
        replace_own_file(path, data, sync=sync)

    store = StateStore(tmp_path)
    store.save(Memory(paused=True))
    monkeypatch.setattr(state_file, "replace_own_file", replace_all_but_copy)
    store.save(Memory())
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StateError, match="the next pass begins anew"):
        store.load()


def test_state_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the watchdog's user has changed, the sentence tells the owner and the remedy; else only the reason."""
    owner, denied = tmp_path.stat().st_uid, PermissionError(errno.EACCES, "Permission denied")
    assert explain_os_error(denied, tmp_path) == "Permission denied"
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    sentence = explain_os_error(denied, tmp_path)
    assert f"belongs to the user with the id {owner}" in sentence and f"chown -R USER {tmp_path}" in sentence
    assert explain_os_error(OSError(errno.ENOSPC, "No space left"), tmp_path) == "No space left"


def test_a_missing_state_is_none(tmp_path: Path) -> None:
    """A state that somebody moved away on purpose is not brought back."""
    store = StateStore(tmp_path)
    for _ in range(2):
        store.save(Memory(paused=True))
    (tmp_path / "state.json").unlink()
    assert store.load() == store.peek() == Memory()


def test_damaged_copies_are_bounded(tmp_path: Path) -> None:
    """The latest damaged copies are kept, and a number is never used twice."""
    store = StateStore(tmp_path)
    (tmp_path / "state.damaged-notes").touch()
    for number in range(1, 16):
        (tmp_path / "state.json").write_text(f"damage {number}")
        with pytest.raises(StateError, match=f"damaged-{number},"):
            store.load()
    kept = {path.name: path.read_text() for path in tmp_path.glob("*.damaged-*")}
    assert kept == {"state.damaged-notes": ""} | {f"state.damaged-{n}": f"damage {n}" for n in range(6, 16)}


OLDER = {  # as the watchdog wrote it before it remembered engines, groups and checks of groups
    "format": 2,
    "last_pass": NOW - 60,
    "paused": True,
    "images": {
        KEY: {
            "newest": B,
            "records": {
                A: {"first_seen": NOW - 9000, "pulled": True, "verified": True, "preflighted": True},
                B: {"first_seen": NOW - 600, "pulled": True},
            },
            "known_good": [{"digest": A, "life_started": NOW - 8000}],
            "quarantine": {B: {"since": NOW - 300, "reason": "rolled back by the operator", "source": "operator"}},
            "pin": A,
        }
    },
    "slots": {"wn-01": {"container": "cwn-01", "digest": A, "started": NOW - 10}},
}


def test_older_state_is_kept(tmp_path: Path) -> None:
    """The state of an older watchdog keeps pin, pause, roll-back and passed checks, through a pass and a change."""
    (tmp_path / "state.json").write_text(json.dumps(OLDER))
    store = StateStore(tmp_path)
    check = {"exec": ["true"]}
    for config in (build_config(group={"verify": check, "preflight": check}), build_config(count=1)):
        memory = decide(config, build_observation(config, ["running"], None), store.load(), NOW).memory
        store.save(memory)
        image = store.load().get_image(KEY)
        assert memory.paused and image.pin == A and set(image.quarantine) == {B}
        assert [good.digest for good in image.known_good] == [A]
        assert image.records[A].verified and image.records[A].preflighted
    podman = build_config(count=1, group={"engine": "podman"})
    view = {**build_observation(build_config(count=1), ["running"], None).engines, "podman": EngineView()}
    decision = decide(podman, Observation(view, boot="b", booted=1.0), store.load(), NOW)
    assert decision.reasons["wn-01"].code == "running"
    assert decision.memory.get_image(podman.slots[0].image_key).pin == A


def test_older_state_and_a_silent_engine(tmp_path: Path) -> None:
    """A slot of an older watchdog's state is not filled on a new engine while the former one is silent."""
    (tmp_path / "state.json").write_text(json.dumps(OLDER | {"paused": False, "boot": "b"}))
    podman = build_config(count=1, group={"engine": "podman"})
    views: dict[str, EngineDown | EngineView] = {"docker": EngineDown("cannot reach docker"), "podman": EngineView()}
    memory = StateStore(tmp_path).load()
    for boot, code in (("b", "engine-unknown"), ("b", "engine-unknown"), ("c", "preparing")):
        decision = decide(podman, Observation(dict(views), boot=boot, booted=1.0), memory, NOW)
        memory = decision.memory
        assert decision.reasons["wn-01"].code == code


def build_observation(config: Config, states: list[str], answer: TagDigest | RegistryFailure | None) -> Observation:
    """Build a look at a host with containers in these states."""
    names = config.slots[0].list_slot_names(config.host)
    containers = tuple(
        Container(f"c{name}", f"{name}-x", "docker", name, A, IMAGE, state, started=NOW - 10)
        for name, state in zip(names, states, strict=False)
    )
    answers = {} if answer is None else {KEY: answer}
    return Observation({"docker": EngineView(containers, frozenset({A}))}, tag_digests=answers, boot="b", booted=1.0)


@pytest.mark.parametrize(
    ("states", "answer", "well"),
    [
        (["running", "running"], TagDigest(A), True),
        (["running", "paused"], None, True),
        (["running"], TagDigest(A), False),
        (["running", "exited"], TagDigest(A), False),
        ([], None, False),
        (["running", "running"], RegistryFailure("no answer"), False),
    ],
)
def test_success_is_when_all_is_well(states: list[str], answer: TagDigest | RegistryFailure | None, well: bool) -> None:
    """`last_success` advances only if every slot has a container and every registry answered."""
    config = build_config()
    memory = decide(config, build_observation(config, states, answer), Memory(), NOW).memory
    assert memory.last_success == (NOW if well else 0.0)


def test_a_forgotten_image_spoils_nothing() -> None:
    """The trouble of an image that the configuration has no more does not hold `last_success` back."""
    config = build_config()
    failed = build_observation(config, ["running", "running"], RegistryFailure("x"))
    memory = decide(config, failed, Memory(), NOW).memory
    memory = replace(memory, images={"docker r/misspelt:v1": memory.images[KEY]})
    assert (
        decide(config, build_observation(config, ["running"] * 2, None), memory, NOW + 1).memory.last_success == NOW + 1
    )


class PullingEngine:
    """Engine that has one running container besides an image that it cannot pull."""

    name, storage_folder = "docker", ""
    containers: tuple[Container, ...] = ()

    def get_platform(self) -> tuple[str, str]:
        """Return a platform."""
        return "linux", "amd64"

    def list_containers(self) -> list[Container]:
        """Return the containers."""
        return list(self.containers)

    def has_image(self, repository: str, digest: str) -> bool:
        """Return False: nothing is on disk."""
        return False

    def pull_image(self, *words: Any, **options: Any) -> None:
        """Fail."""
        raise PullError("no space")

    def remove_preflight_containers(self) -> None:
        """Do nothing."""


def test_a_failed_pass_is_no_success(tmp_path: Path) -> None:
    """A pass in which the newest image could not be pulled leaves `last_success`, on disk, too."""
    with serve_answers(build_answers(CONFIG_DIGEST, {})) as server:
        image = f"{server.address}/site/wn:v1"
        config = build_config(count=1, group={"image": image}, state=str(tmp_path), fitness={"free_disk": 0})
        watchdog = Watchdog(config, Audit())
        engine = PullingEngine()
        engine.containers = (Container("c1", "x", "docker", "wn-01", A, image, "running", started=time.time() - 5),)
        watchdog.engines["docker"] = engine  # type: ignore[assignment]
        watchdog.store.save(Memory(last_success=5.0, last_pass=time.time()))
        report = watchdog.run_pass()
    assert report.problems == ("no space",)
    assert (report.memory.last_success, watchdog.store.load().last_success) == (5.0, 5.0)


def test_memory_is_written_whole(tmp_path: Path) -> None:
    """A memory that has seen good and failed lives, quarantines and many slots is read as it was written."""
    registry = SimulatedRegistry([(0, A), (BEGIN + 3600, B)], behaviours=build_failing_behaviour(B))
    host = build_host(registry, build_config(count=5), staggered=True)
    run_passes(host, BEGIN, 6 * 3600, every=600)
    assert host.memory.get_image(KEY).quarantine and len(host.memory.slots) == 5
    store = StateStore(tmp_path)
    store.save(host.memory)
    assert store.load() == host.memory
    text = (tmp_path / "state.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(asdict(host.memory)))
    assert len(text.splitlines()) == 2 + len(fields(Memory)), "one line for each field"
