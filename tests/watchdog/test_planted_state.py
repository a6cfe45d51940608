"""Foreign things in the watchdog's folders and in its containers' ones: nothing hangs, follows links, opens devices."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.cli.main import main
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.slot_actions import Pull
from autopilot_watchdog.regular_files import open_own_file, read_regular_file, replace_own_file
from autopilot_watchdog.shell import audit, last_words_reader
from autopilot_watchdog.shell.life_archive import LIVES_FILE, LifeArchive
from autopilot_watchdog.shell.state_file import StateError, StateStore
from autopilot_watchdog.shell.work_claims import WorkClaims
from click.testing import CliRunner

from tests.watchdog.scenes import IMAGE, KEY, A
from tests.watchdog.test_life_archive import SLOT, build

Plant = Callable[[Path, Path], None]
LIFE = Container("f00", "wn-01-x", "docker", "wn-01", "sha256:a", "r/i:t", "exited", exit_code=137)


def plant_link(place: Path, victim: Path) -> None:
    """Put a link to another file there."""
    place.symlink_to(victim)


def plant_dangling_link(place: Path, victim: Path) -> None:
    """Put a link to a file that does not exist there."""
    place.symlink_to(victim.with_name("nowhere"))


def plant_fifo(place: Path, _victim: Path) -> None:
    """Put a FIFO there that nobody writes."""
    os.mkfifo(place)


def plant_folder(place: Path, victim: Path) -> None:
    """Put a folder with a file there."""
    place.mkdir()
    (place / "inside").write_text(victim.read_text())


def plant_endless_link(place: Path, _victim: Path) -> None:
    """Put a link to a device without an end there."""
    place.symlink_to("/dev/zero")


def plant_hole(place: Path, _victim: Path) -> None:
    """Put a file of a terabyte there."""
    place.touch()
    os.truncate(place, 1 << 40)


PLANTS: list[Plant] = [plant_link, plant_dangling_link, plant_fifo, plant_folder, plant_endless_link, plant_hole]
FILES = (
    *("state.json", "state.tmp", "lock", "audit.jsonl", "wake", "work/0.json", "work/0.new"),
    *(f"lives/{SLOT}/{LIVES_FILE}", f"lives/{SLOT}/lives.tmp"),
)
FOLDERS = ("work", "lives", "slots")
NOT_REGULAR = [plant for plant in PLANTS if plant is not plant_hole]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that must stay as it is."""
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state folder."""
    path = tmp_path / "state"
    path.mkdir()
    return path


@pytest.fixture
def closed_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the audit logs of verbs, as the end of their processes does."""
    opened: list[logging.Handler] = []

    class ListedFile(audit._LogFile):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            opened.append(self)

    monkeypatch.setattr(audit, "_LogFile", ListedFile)
    yield
    for file in opened:
        file.close()


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("names", [FILES, FOLDERS, (f"lives/{SLOT}",)], ids=["files", "folders", "a slot's folder"])
@pytest.mark.usefixtures("closed_logs")
def test_every_verb_ends(tmp_path: Path, folder: Path, victim: Path, names: tuple[str, ...], plant: Plant) -> None:
    """Whatever is in the place of files or folders: each verb ends without a traceback, and other files stay."""
    config = tmp_path / "wd.json"
    slots = [{"name": "wn-NN", "image": IMAGE, "engine": "docker"}]
    engines = {"docker": str(tmp_path / "none.sock")}
    config.write_text(json.dumps({"state": str(folder), "slots": slots, "engines": engines}))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        plant(folder / name, victim)
    for verb in (["run"], ["status"], ["explain", SLOT], ["history", SLOT], ["logs", SLOT], ["pause"], ["run"]):
        done = CliRunner().invoke(main, [verb[0], "--config", str(config), *verb[1:]])
        assert done.exception is None or isinstance(done.exception, SystemExit), verb
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("plant", NOT_REGULAR)
def test_the_state_begins_anew(folder: Path, victim: Path, plant: Plant) -> None:
    """What is no file is moved aside, said once, and the next pass begins anew."""
    store = StateStore(folder)
    for name in ("state.json", "state.tmp", "lock"):
        plant(folder / name, victim)
    with store.lock():
        with pytest.raises(StateError, match=r"it is kept as .*foreign-"):
            store.load()
        assert store.load() == Memory()
        store.save(Memory(paused=True))
        assert store.load() == Memory(paused=True)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("plant", NOT_REGULAR)
def test_claims_and_lives(folder: Path, victim: Path, plant: Plant) -> None:
    """Claims and lives are written beside what is there, and read back."""
    claims, archive = WorkClaims(folder), LifeArchive(folder)
    claims.claim(Pull(KEY, A), 1.0)
    (claim,) = (folder / "work").iterdir()
    claims.release(Pull(KEY, A))
    plant(claim.with_suffix(".new"), victim)
    plant(folder / "work/other.json", victim)
    claims.claim(Pull(KEY, A), 1.0)
    assert WorkClaims(folder).list_claimed() == {Pull(KEY, A): 1.0}
    claims.release(Pull(KEY, A))
    lives = folder / "lives" / SLOT
    lives.mkdir(parents=True)
    for name in (LIVES_FILE, "lives.tmp", f"{build(1).container}.log", f"{build(1).container}.tmp"):
        plant(lives / name, victim)
    assert archive.list_lives(SLOT) == [] and archive.read_log(SLOT, build(1)) is None
    archive.add(SLOT, build(1), "output")
    assert archive.list_lives(SLOT) == [build(1)] and archive.read_log(SLOT, build(1)) == "output"
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("plant", PLANTS)
def test_words_are_looked_at_before_they_are_opened(
    tmp_path: Path, victim: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a container puts in the place of its words is opened only if it is a file: a device may act when opened."""
    for name in last_words_reader.FILE_NAMES:
        plant(tmp_path / name, victim)
    opened: list[int] = []
    original = os.open

    def record(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        opened.append(flags)
        return original(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", record)
    before = len(os.listdir("/proc/self/fd"))
    assert last_words_reader.attach_last_words(LIFE, tmp_path).last_words is None
    assert len(os.listdir("/proc/self/fd")) == before
    only_looked_at = [flags for flags in opened if flags & os.O_PATH]
    assert len(only_looked_at) == 2
    assert len(opened) == (4 if plant is plant_hole else 2)


def test_files_are_replaced(folder: Path) -> None:
    """A file of ours is read and written as usual, and leaves nothing beside it."""
    path = folder / "file"
    replace_own_file(path, b"old")
    replace_own_file(path, b"new", sync=True)
    assert read_regular_file(path, 100) == b"new" and read_regular_file(path, 2, from_end=True) == b"ew"
    os.close(open_own_file(path))
    os.close(open_own_file(folder / "other"))
    assert sorted(found.name for found in folder.iterdir()) == ["file", "other"]
    assert path.read_bytes() == b"new"
