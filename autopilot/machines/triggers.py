"""Match events against the `when` of a job."""

from __future__ import annotations

from autopilot.machines.events import Event, SignalReceived
from autopilot.spec.plan import Trigger, When

TRIGGER_SIGNALS = frozenset({"SIGHUP", "SIGUSR2"})

MANUAL_START_EVENT = "asked"  # never emitted: a job that waits for it runs when an operator starts it

STARTUP_TRIGGERS = (Trigger(source="", event="startup"),)


def list_triggers(when: When) -> tuple[Trigger, ...]:
    """Return the triggers of a `when`; without any, a job waits for the supervisor's start, or for its `cron`."""
    return when.triggers or (() if when.cron is not None else STARTUP_TRIGGERS)


def get_trigger_key(trigger: Trigger) -> tuple[str, str]:
    """Return the source and the trigger name of the events that a trigger waits for; a signal's source is its name."""
    return trigger.source, SignalReceived.trigger_name if trigger.source in TRIGGER_SIGNALS else trigger.event


def is_match(trigger: Trigger, event: Event) -> bool:
    """Return True when the event is the one that the trigger waits for."""
    return get_trigger_key(trigger) == (event.source, event.trigger_name)


def apply_event(when: When, matched: frozenset[Trigger], event: Event) -> tuple[frozenset[Trigger], bool]:
    """Count an event in.

    Args:
        when: The `when` of a job.
        matched: The triggers that have matched so far.
        event: The event.

    Returns:
        The triggers that have matched now, and True when the `when` comes true. A `once` comes true a single time; an
        `each` every time, and then all its triggers are open again.
    """
    expected = list_triggers(when)
    new = frozenset(trigger for trigger in expected if is_match(trigger, event))
    if not new or (not when.each and new <= matched):
        return matched, False
    matched = matched | new
    met = len(matched) == len(set(expected))
    return (frozenset() if met and when.each else matched), met
