"""The contract with the supervisor: writer and reader agree, and docs/last-words.schema.json says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.shell import last_words_reader

from autopilot.app.container_info import ContainerInfo
from autopilot.app.last_words import LastWords
from autopilot.machines import events
from autopilot.machines.actions import Outcome

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/last-words.schema.json").read_text())
LIFE = Container("f00", "wn-01-x", "docker", "wn-01", "sha256:a", "r/i:t", "exited", exit_code=137)


def write_last_words(folder: Path) -> LastWords:
    """Write a supervisor's last words, at the beginning of its life."""
    info = ContainerInfo("wn-01", "h1", "sha256:a", "wn-01-x", "f00", "wn-01")
    writer = LastWords(folder, info, "life-1", lambda _: None)
    writer.begin()
    return writer


def test_schema_has_every_key(tmp_path: Path) -> None:
    """The writer's keys are the schema's, and the required ones are there from the first heartbeat."""
    write_last_words(tmp_path)
    document = json.loads((tmp_path / "last-words.json").read_text())
    assert set(document) <= set(SCHEMA["properties"])
    assert set(SCHEMA["required"]) <= set(document)
    assert document["format"] == SCHEMA["properties"]["format"]["const"] == last_words_reader.FORMAT_VERSION


def test_reader_understands_the_writer(tmp_path: Path) -> None:
    """The supervisor's notes reach the watchdog, for that container only."""
    writer = write_last_words(tmp_path)
    writer.on_effect(events.BootSucceeded(120.0))
    words = last_words_reader.attach_last_words(LIFE, tmp_path).last_words
    assert words is not None and words.good and words.state == "running"
    writer.on_effect(events.PayloadsFinished(("1.0", "2.0"), ("2.0",)))
    writer.on_effect(events.PayloadsFinished(("3.0",), ()))
    writer.finish(Outcome("lifetime", "drained", 0))
    words = last_words_reader.attach_last_words(LIFE, tmp_path).last_words
    assert words is not None and (words.state, words.reason, words.exit_code) == ("ended", "lifetime", 0)
    assert (words.payloads_finished, words.payloads_failed_fast) == (3, 1)
    other = Container("f11", "wn-01-y", "docker", "wn-01", "sha256:a", "r/i:t", "exited")
    assert last_words_reader.attach_last_words(other, tmp_path).last_words is None


def test_the_dead_are_completed_once(tmp_path: Path) -> None:
    """A life that could not say how it ended is completed; one that did is left as it is."""
    writer = write_last_words(tmp_path)
    (tmp_path / "last-words.watchdog").symlink_to(tmp_path / "elsewhere")  # the container may try
    assert last_words_reader.complete_last_words(LIFE, tmp_path, "killed", "killed from outside", 1000.0)
    assert not (tmp_path / "elsewhere").exists()
    document = json.loads((tmp_path / "last-words.json").read_text())
    assert (document["state"], document["reason"], document["completed_by"]) == ("ended", "killed", "watchdog")
    assert set(document) <= set(SCHEMA["properties"])
    writer.finish(Outcome("signal", "", 0))
    assert not last_words_reader.complete_last_words(LIFE, tmp_path, "killed", "x", 1000.0)


def test_nothing_of_the_container_is_trusted(tmp_path: Path) -> None:
    """Neither a link, nor a pipe, nor rubbish in the container's folder harms the watchdog."""
    (tmp_path / "last-words.json").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "previous-words.json")
    assert last_words_reader.attach_last_words(LIFE, tmp_path).last_words is None
    (tmp_path / "last-words.json").unlink()
    (tmp_path / "last-words.json").write_text("[1, 2")
    assert last_words_reader.attach_last_words(LIFE, tmp_path).last_words is None
