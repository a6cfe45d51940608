"""Test that listeners see every effect, and that a failing one ends nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autopilot.app.listeners import ListenerSet
from autopilot.machines.actions import CancelCheck
from autopilot.machines.core import Effect
from autopilot.machines.events import Event, Healthy
from tests.app.harness import SupervisorProcess

BROKEN_JOURNAL = """
import sys
sys.path.insert(0, sys.argv[2])
from autopilot.adapters.logs.journal import Journal
def fail(self, event): raise RuntimeError("a bug of the journal")
Journal.on_event = fail
from autopilot.app.boot import run
sys.exit(run(sys.argv[1]))
"""


class Recorder:
    """A listener that keeps what it sees, and fails as long as it is told to."""

    def __init__(self) -> None:
        self.received: list[Effect] = []
        self.fails = False

    def on_effect(self, effect: Effect) -> None:
        if self.fails:
            raise ValueError("broken")
        self.received.append(effect)

    def on_event(self, event: Event) -> None:
        self.on_effect(event)


def test_a_failing_listener_is_counted_and_the_others_go_on() -> None:
    """The listeners after a failing one see the effect, and the failing one sees the next effect again."""
    failures: list[tuple[str, str, int]] = []
    listeners = ListenerSet(lambda name, error, count: failures.append((name, str(error), count)))
    broken, sound = Recorder(), Recorder()
    listeners.add("broken", broken)
    listeners.add("sound", sound)
    broken.fails = True
    listeners.on_effect(Healthy("a"))
    listeners.on_effect(Healthy("b"))
    broken.fails = False
    listeners.on_effect(Healthy("c"))
    assert failures == [("broken", "broken", 1), ("broken", "broken", 2)] and listeners.failures == {"broken": 2}
    assert sound.received == [Healthy("a"), Healthy("b"), Healthy("c")] and broken.received == [Healthy("c")]


def test_event_listeners_see_no_actions() -> None:
    """A listener of events sees events only; a listener of effects sees actions as well."""
    listeners = ListenerSet(lambda *_: pytest.fail("nothing fails"))
    for_effects, for_events = Recorder(), Recorder()
    listeners.add("effects", for_effects)
    listeners.add_event_listener("events", for_events)
    for effect in (CancelCheck("a"), Healthy("a")):
        listeners.on_effect(effect)
    assert for_effects.received == [CancelCheck("a"), Healthy("a")] and for_events.received == [Healthy("a")]


class BrokenJournalProcess(SupervisorProcess):
    """A supervisor whose journal fails on every event."""

    def build_command(self, config: Path) -> list[str]:
        return [sys.executable, "-c", BROKEN_JOURNAL, str(config), str(Path(__file__).parents[2])]


def test_a_life_survives_a_broken_journal(tmp_path: Path) -> None:
    """The failure is logged with its traceback, shown as a condition and counted; jobs run, and the life ends well."""
    spec = {"jobs": [{"name": "a", "exec": ["sleep", "1000"], "restarts": "unlimited"}]}
    with BrokenJournalProcess(tmp_path, spec) as pilot:
        failure = pilot.wait_for(lambda line: line.get("event") == "listener_failed")
        assert "a bug of the journal" in failure["message"] and "Traceback" in failure["traceback"]
        pilot.wait_for_event("a", "started")
        status = pilot.get_status()
        assert (
            status["listener_failures"]["journal"] > 1
            and "a bug of the journal" in status["troubles"]["listener-journal"]
        )
        assert pilot.stop() == 0
        logged = [line for line in pilot.lines if line.get("event") == "listener_failed"]
        assert len(logged) <= 2  # the first, and perhaps the tenth
