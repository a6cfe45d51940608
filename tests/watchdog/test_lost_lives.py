"""Containers that somebody removes by hand: the life is known as lost, once, and counts for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from autopilot_watchdog.core.lost_lives import LOST_CODE, LostLife, find_lost_lives
from autopilot_watchdog.core.memory import EngineMemory, Memory, Occupant, SlotMemory
from autopilot_watchdog.core.observation import Container, EngineDown, EngineView, LastWords, Observation
from autopilot_watchdog.shell.life_archive import LifeArchive, build_lost_life

from tests.watchdog.scenes import BEGIN, IMAGE, A, build_config, build_host, run_passes

CONFIG = build_config(count=1)
SOCKET = CONFIG.list_engines()["docker"]
ALIVE = {"c1": Occupant("wn-01", "wn-01-abc")}


def build_memory(alive: dict[str, Occupant], slot: SlotMemory | None = None, address: str = SOCKET) -> Memory:
    """Build a memory of an engine with living containers, and of the slot."""
    slots = {"wn-01": slot or SlotMemory("c1", A, started=BEGIN - 60)}
    return Memory(engines={"docker": EngineMemory(address, alive)}, slots=slots)


def find_names(observation: Observation, memory: Memory) -> list[tuple[str, str]]:
    """Return slot and name of the lost lives."""
    return [(lost.slot, lost.name) for lost in find_lost_lives(CONFIG, observation, memory, BEGIN)]


def test_removed_container_is_lost_once() -> None:
    """A container that is removed by hand is lost: told once, with the slot refilled and no image blamed."""
    host = build_host()
    run_passes(host, BEGIN, 600)
    (removed, _) = host.engine.list_alive()
    host.engine.remove_container(removed.id)
    before = host.memory.counts.get("lives_lost", 0)
    run_passes(host, BEGIN + 600, 600)
    assert host.memory.counts["lives_lost"] == before + 1
    assert len(host.engine.list_alive()) == 2
    assert not any(slot.failed or slot.streak for slot in host.memory.slots.values())


@pytest.mark.parametrize(
    "view",
    [
        EngineView((Container("c1", "wn-01-abc", "docker", "wn-01", A, IMAGE, "running"),)),
        EngineView((Container("c1", "wn-01-abc", "docker", "wn-01", A, IMAGE, "exited"),)),
        EngineDown("cannot reach docker"),
    ],
)
def test_what_is_there_or_unknown_is_not_lost(view: EngineView | EngineDown) -> None:
    """A container that its engine has, dead or alive, or of an engine that does not answer, is not lost."""
    assert not find_names(Observation({"docker": view}), build_memory(ALIVE))


def test_lives_that_are_lost() -> None:
    """Lost are the life of a slot, that of a surplus container, and one that no look has seen alive."""
    gone = Observation({"docker": EngineView()})
    assert find_names(gone, build_memory(ALIVE)) == [("wn-01", "wn-01-abc")]
    surplus = {"c2": Occupant("old-07", "old-07-abc")}
    ended = SlotMemory("c1", A, started=BEGIN - 60, ended=BEGIN - 1)
    assert find_names(gone, build_memory(surplus, ended)) == [("old-07", "old-07-abc")]
    assert find_names(gone, build_memory({})) == [("wn-01", "c1")]
    assert not find_names(gone, build_memory({"start of wn-01": Occupant("wn-01", "a container")}, ended))


def test_another_engine_of_the_same_name_tells_nothing() -> None:
    """After the configuration gave the engine's name to another socket, the containers are on the former one."""
    gone = Observation({"docker": EngineView(), "docker@/run/old.sock": EngineDown("away")})
    assert not find_names(gone, build_memory(ALIVE, address="/run/old.sock"))


def test_history_has_the_lost_life(tmp_path: Path) -> None:
    """The archive keeps a lost life, with the payloads of its last words, and reads it again."""
    lost = LostLife("c1", "wn-01-abc", "wn-01", "docker", IMAGE, A, BEGIN - 60, BEGIN)
    archive = LifeArchive(tmp_path)
    archive.add("wn-01", build_lost_life(lost, LastWords(payloads_run=3)), "")
    (life,) = archive.list_lives("wn-01")
    assert (life.code, life.verdict, life.exit_code, life.length) == (LOST_CODE, "unknown", None, 60)
    assert life.payloads_run == 3 and "removed, and not by the watchdog" in life.sentence
