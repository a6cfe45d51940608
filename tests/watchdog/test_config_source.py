"""The configuration's file while `watch` runs: a valid change is taken, any other one changes nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from autopilot_watchdog.config.config_reader import load_config
from autopilot_watchdog.shell.config_source import ConfigChange, ConfigSource
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property_examples import scale_examples
from tests.watchdog.scenes import IMAGE


def write_file(path: Path, count: object = 1, **rest: Any) -> None:
    """Write a configuration as configuration management does: a new file in the place of the old one."""
    document = {"host": "h1", "slots": [{"name": "wn-NN", "image": IMAGE, "count": count}], **rest}
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document))
    os.replace(new, path)


@pytest.fixture
def source(tmp_path: Path) -> ConfigSource:
    """Return a source with a valid file."""
    path = tmp_path / "wd.json"
    write_file(path)
    return ConfigSource(path, load_config(path), settle_s=0)


def reload_asked(source: ConfigSource) -> ConfigChange | None:
    """Reload as after a SIGHUP."""
    source.ask()
    return source.reload()


def test_change_is_taken(source: ConfigSource, tmp_path: Path) -> None:
    """A changed file is used once it is valid; an unchanged one says nothing, unless asked."""
    assert source.reload() is None
    write_file(tmp_path / "wd.json", 3)
    change = source.reload()
    assert change and not change.is_refused and source.config.slots[0].count == 3
    assert source.reload() is None
    asked = reload_asked(source)
    assert asked and ": nothing has changed, its content has been in use for " in asked.sentence


def test_every_sighup_is_answered(source: ConfigSource, tmp_path: Path) -> None:
    """A SIGHUP has its own sentence, whether the change before it was noticed already, was not, or is none."""
    path = tmp_path / "wd.json"
    write_file(path, 2)
    noticed, behind = source.reload(), reload_asked(source)
    assert noticed and noticed.sentence == f"{path} was read again"
    assert behind and behind.sentence.startswith(f"SIGHUP: {path} was read again: nothing has changed, its content has")
    write_file(path, 3)
    assert reload_asked(source) == ConfigChange(f"SIGHUP: {path} was read again, and its changes are in use")
    assert source.reload() is None, "the notice of the same change has nothing to add"
    path.write_text("{")
    refused = reload_asked(source)
    assert refused and refused.is_refused and refused.sentence.startswith("SIGHUP: the configuration's file cannot be")
    assert source.reload() is None


UNKNOWN_EVENT = json.dumps(
    {"slots": [{"name": "wn-NN", "image": IMAGE}], "notify": {"exec": ["true"], "events": ["no-such-event"]}}
)


@pytest.mark.parametrize("text", ["", "{", '{"slots": []}', '{"slots": 3}', "\ud800", UNKNOWN_EVENT, None])
def test_bad_file_is_refused(source: ConfigSource, tmp_path: Path, text: str | None) -> None:
    """A file with problems, or none, leaves the configuration; it is told once, and its end, too."""
    path, before = tmp_path / "wd.json", source.config
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    change = source.reload()
    assert change and change.is_refused and change.sentence.endswith("the former configuration stays in use")
    assert source.refused_since and source.config is before and source.reload() is None
    asked = reload_asked(source)
    assert asked and asked.is_refused and asked.sentence.endswith(change.sentence)
    write_file(path)
    assert source.reload() and not source.refused_since and source.config == before


@pytest.mark.parametrize("text", ["", '{"host": "h1", "slo', None])
def test_half_written_file_is_not_judged(tmp_path: Path, text: str | None) -> None:
    """A file with problems that changed a moment ago is looked at again before it is refused, unless one asks."""
    path = tmp_path / "wd.json"
    write_file(path)
    source = ConfigSource(path, load_config(path), settle_s=3600)
    assert source.reload() is None and not source.has_changed
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    assert source.has_changed
    begin = time.time()
    for _ in range(2):
        assert source.reload() is None and not source.refused_since and not source.has_changed
        assert source.look_again_at and source.look_again_at > begin + 3000
    write_file(path, 2)
    assert source.has_changed
    assert source.reload() and source.config.slots[0].count == 2 and source.look_again_at is None
    path.write_text("{")
    asked = reload_asked(source)
    assert asked and asked.is_refused and source.look_again_at is None


def test_change_before_the_first_look(tmp_path: Path) -> None:
    """A change between the first reading and the first look is seen."""
    path = tmp_path / "wd.json"
    write_file(path)
    before = load_config(path)
    write_file(path, 2)
    source = ConfigSource(path, before, settle_s=0)
    assert source.reload() and source.config.slots[0].count == 2


def test_another_state_folder_is_refused(source: ConfigSource, tmp_path: Path) -> None:
    """Another state folder would hide the running containers, so it is refused."""
    write_file(tmp_path / "wd.json", state="/elsewhere")
    change = source.reload()
    assert change and change.is_refused and "state: cannot change from" in change.sentence


@given(counts=st.lists(st.integers(-2, 4), max_size=6))
@settings(max_examples=scale_examples(40), deadline=None)
def test_last_valid_one_is_in_use(tmp_path_factory: pytest.TempPathFactory, counts: list[int]) -> None:
    """After any sequence of files the last valid one is in use, and it is told whether the file is that one."""
    path = tmp_path_factory.mktemp("config") / "wd.json"
    write_file(path)
    source, expected = ConfigSource(path, load_config(path), settle_s=0), 1
    for count in counts:
        write_file(path, count)
        source.reload()
        expected = count if count > 0 else expected
        assert source.config.slots[0].count == expected
        assert bool(source.refused_since) is (count <= 0)
