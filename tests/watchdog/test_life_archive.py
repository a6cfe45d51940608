"""The archive of past lives: bounded, never written twice for one life, and safe against names and garbage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from autopilot_watchdog.core.observation import Container, LastWords
from autopilot_watchdog.core.slot_actions import RemoveContainer
from autopilot_watchdog.shell import life_archive
from autopilot_watchdog.shell.life_archive import LifeArchive, build_life

from tests.watchdog.scenes import BEGIN, IMAGE, A

SLOT = "wn-01"


def build(number: int) -> life_archive.Life:
    """Build the life of a number."""
    words = LastWords("ended", "lifetime", exit_code=0, payloads_run=number, payloads_killed=1)
    container = Container(
        f"id{number}",
        f"{SLOT}-{number:08x}",
        "docker",
        SLOT,
        A,
        IMAGE,
        "exited",
        BEGIN,
        BEGIN + number,
        last_words=words,
    )
    return build_life(container, RemoveContainer(container.id, SLOT, "docker", "lifetime", "it ended", "neutral"))


def test_lives_and_logs_are_bounded(tmp_path: Path) -> None:
    """Of more lives than fit the latest are kept, and of these the output of the last few, each cut at its begin."""
    archive = LifeArchive(tmp_path)
    for number in range(1, life_archive.MAX_LIVES + 8):
        archive.add(SLOT, build(number), f"life {number}\n" + "x" * life_archive.MAX_LOG_BYTES + "end")
    lives = archive.list_lives(SLOT)
    assert lives == [build(number) for number in range(8, life_archive.MAX_LIVES + 8)]
    assert lives[-1].length == lives[-1].payloads_run == life_archive.MAX_LIVES + 7
    logs = [archive.read_log(SLOT, life) for life in lives]
    assert all(log is None for log in logs[: -life_archive.MAX_LOGS])
    for log in logs[-life_archive.MAX_LOGS :]:
        assert log is not None and len(log) == life_archive.MAX_LOG_BYTES and log.endswith("end")
    assert len(list((tmp_path / "lives" / SLOT).iterdir())) == life_archive.MAX_LOGS + 1


def test_a_life_is_added_once(tmp_path: Path) -> None:
    """A removal that is tried again, because the engine refused it, adds no second line."""
    archive = LifeArchive(tmp_path)
    for _ in range(3):
        archive.add(SLOT, build(1), "output")
    assert archive.list_lives(SLOT) == [build(1)]


@pytest.mark.parametrize("slot", ["", ".", "..", "../x", "a/b", "x" * 300])
def test_names_lead_nowhere(tmp_path: Path, slot: str) -> None:
    """A slot's name that an image's label made up writes and reads nothing."""
    archive = LifeArchive(tmp_path / "state")
    archive.add(slot, build(1), "output")
    assert archive.list_lives(slot) == [] and archive.read_log(slot, build(1)) is None
    assert not list(tmp_path.rglob("*.log"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"lives": 1}', '{"lives": [1, null, {}, {"container": 1}, []]}', "x" * (2 << 20)]
)
def test_garbage_is_no_history(tmp_path: Path, text: str) -> None:
    """A damaged file has no lives, and the next life is kept."""
    archive = LifeArchive(tmp_path)
    archive.add(SLOT, build(1), "")
    (tmp_path / "lives" / SLOT / life_archive.LIVES_FILE).write_text(text)
    assert archive.list_lives(SLOT) == []
    archive.add(SLOT, build(2), "")
    assert archive.list_lives(SLOT) == [build(2)]
    assert json.loads((tmp_path / "lives" / SLOT / life_archive.LIVES_FILE).read_text())["lives"]
