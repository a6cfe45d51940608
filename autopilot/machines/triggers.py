"""Which facts make a job's `when` come true."""

from __future__ import annotations

from autopilot.machines.events import Event, SignalReceived
from autopilot.spec.plan import Trigger, When

TRIGGER_SIGNALS = frozenset({"SIGHUP", "SIGUSR2"})

MANUAL_START_EVENT = "asked"  # never happens: a job that waits for it runs when somebody starts it

STARTUP_TRIGGERS = (Trigger(source="", event="startup"),)


def list_triggers(when: When) -> tuple[Trigger, ...]:
    """What the job waits for; a job without triggers starts with the supervisor, unless it waits for its time."""
    return when.triggers or (() if when.cron is not None else STARTUP_TRIGGERS)


def get_trigger_key(trigger: Trigger) -> tuple[str, str]:
    """The source and event of the facts that a trigger waits for. Of a signal the name alone is the event."""
    return trigger.source, SignalReceived.trigger_name if trigger.source in TRIGGER_SIGNALS else trigger.event


def is_match(trigger: Trigger, event: Event) -> bool:
    return get_trigger_key(trigger) == (event.source, event.trigger_name)


def apply_event(when: When, matched: frozenset[Trigger], event: Event) -> tuple[frozenset[Trigger], bool]:
    """The triggers seen so far with this fact counted in, and whether the `when` comes true now.

    A `once` comes true a single time; an `each` every time, and starts counting anew.
    """
    wanted = list_triggers(when)
    news = frozenset(trigger for trigger in wanted if is_match(trigger, event))
    if not news or (not when.each and news <= matched):
        return matched, False
    matched = matched | news
    true = len(matched) == len(set(wanted))
    return (frozenset() if true and when.each else matched), true
