"""Pass each effect of the core to all its listeners; a listener that fails ends nothing but its own work on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

from autopilot.machines.core import Effect
from autopilot.machines.events import Event


class EffectListener(Protocol):
    """An observer of the core: it sees actions and events."""

    def on_effect(self, effect: Effect) -> None:
        """Take note of an effect that the core has decided."""
        ...


class EventListener(Protocol):
    """An observer of events only."""

    def on_event(self, event: Event) -> None:
        """Take note of an event that has happened."""
        ...


class EventFilter:
    """Passes events, and not actions, to an EventListener."""

    def __init__(self, listener: EventListener) -> None:
        self._listener = listener

    def on_effect(self, effect: Effect) -> None:
        """Pass `effect` on if it is an event."""
        if isinstance(effect, Event):
            self._listener.on_event(effect)


class ListenerSet:
    """The listeners of one life; each effect reaches them in the order of their addition."""

    def __init__(self, on_failure: Callable[[str, Exception, int], None]) -> None:
        """Create an empty set.

        Args:
            on_failure: Called with the listener's name, its exception and the number of its failures so far.
                An exception of it is raised by `on_effect`.
        """
        self._on_failure = on_failure
        self._listeners: dict[str, EffectListener] = {}
        self.failures: Counter[str] = Counter()

    def add(self, name: str, listener: EffectListener) -> None:
        """Append a listener of actions and events."""
        self._listeners[name] = listener

    def add_event_listener(self, name: str, listener: EventListener) -> None:
        """Append a listener of events."""
        self.add(name, EventFilter(listener))

    def on_effect(self, effect: Effect) -> None:
        """Pass `effect` to all listeners."""
        for name, listener in self._listeners.items():
            self.run_guarded(name, partial(listener.on_effect, effect))

    def run_guarded(self, name: str, function: Callable[[], None]) -> None:
        """Call `function` for the listener `name`; count and report its failure."""
        try:
            function()
        except Exception as error:  # an observer never ends a node
            self.failures[name] += 1
            self._on_failure(name, error, self.failures[name])
