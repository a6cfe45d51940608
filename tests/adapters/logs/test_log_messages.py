"""Test that every event of the core has a line in the log, or a reason to have none."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autopilot.adapters.logs import log_messages
from autopilot.adapters.logs.event_catalog import render_catalog
from autopilot.adapters.logs.log_messages import OWN_LINES, SENTENCES, UNLOGGED, describe_event, get_event_id
from autopilot.machines import events
from autopilot.machines.plan_changes import Changes

ROOT = Path(__file__).parents[3]
EVENT_CLASSES = [
    value
    for name, value in vars(events).items()
    if isinstance(value, type)
    and issubclass(value, events.Event)
    and value is not events.Event
    and not name.startswith("_")
]
SAMPLES: dict[str, Any] = {"str": "text", "int": 1, "float": 1.5, "bool": False, "Changes": Changes()}


def build_samples(event_class: type[events.Event]) -> list[events.Event]:
    """Return two events: with small values, and with True for booleans and None where that is allowed."""
    fields = dataclasses.fields(event_class)
    samples = []
    for boolean, optional, changes in ((False, False, Changes()), (True, True, Changes(added=("a",)))):
        values = {**SAMPLES, "bool": boolean, "Changes": changes, "tuple[str, ...]": ("a",)}
        kinds = {field.name: str(field.type) for field in fields}
        samples.append(
            event_class(
                **{
                    name: None if optional and "None" in kind else values[kind.removesuffix(" | None")]
                    for name, kind in kinds.items()
                }
            )
        )
    return samples


def test_table_is_complete() -> None:
    """Kinds of events are either in the table of sentences or among those that are not logged, with a reason."""
    assert set(SENTENCES) | set(UNLOGGED) == set(EVENT_CLASSES)
    assert not set(SENTENCES) & set(UNLOGGED)


@pytest.mark.parametrize("event_class", SENTENCES)
def test_sentences_can_be_written(event_class: type[events.Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences name only values that their event has."""
    row = SENTENCES[event_class]
    for event in build_samples(event_class):
        for index, sentence in enumerate(row):
            always = dataclasses.replace(sentence, condition=lambda _: True)
            monkeypatch.setattr(log_messages, "SENTENCES", {event_class: (always,)})
            try:
                message = describe_event(event)
            except TypeError:  # a value is None: then this sentence is not used
                assert not sentence.condition(event) or any(earlier.condition(event) for earlier in row[:index])
            else:
                assert message is not None and "{" not in message.sentence


def test_ids_are_unique() -> None:
    """No two kinds of lines share an id."""
    ids = [*(get_event_id(event_class) for event_class in EVENT_CLASSES), *OWN_LINES]
    assert len(ids) == len(set(ids))
    assert get_event_id(events.JobStarted) == "job_started"


def test_own_lines_are_in_the_table() -> None:
    """The ids of lines about no event are exactly those of the table."""
    used = set()
    for path in (ROOT / "autopilot").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if ".log(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "log":
                _, event_id, *_ = node.args
                if isinstance(event_id, ast.Constant) and path.name != "logger.py":
                    used.add(event_id.value)
    assert used == set(OWN_LINES)


def test_sentences() -> None:
    """Sentences have subject, verb, cause and consequence; the job is a field."""
    exited = describe_event(events.JobExited("app", 1, 137, asked=False, oom=True))
    assert exited == (
        "error",
        "killed by the kernel: the container ran out of memory",
        {"job": "app", "status": 137, "run": 1},
    )
    assert describe_event(events.Healthy("app")) == ("info", "marked healthy", {"job": "app"})
    booted = describe_event(events.BootSucceeded(120.0))
    assert booted is not None
    assert booted.sentence == "boot succeeded: healthy for 120 s, the watchdog may promote this image digest"
    unhealthy = describe_event(events.Unhealthy("app", "trying\nrefused\n", 3))
    assert unhealthy is not None and unhealthy.sentence == "marked unhealthy: refused"


def test_documentation_is_current() -> None:
    """docs/events.md is what the command writes."""
    command = [sys.executable, "-m", "autopilot.adapters.logs.event_catalog"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == render_catalog() == (ROOT / "docs/events.md").read_text()
