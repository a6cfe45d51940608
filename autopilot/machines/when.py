"""Which facts make a job's `when` come true."""

from __future__ import annotations

from autopilot.machines.facts import Fact, SignalReceived
from autopilot.spec.plan import Trigger, When

SIGNALS = frozenset({"SIGHUP", "SIGUSR2"})

ASKED = "asked"  # never happens: a job that waits for it runs when somebody starts it

STARTUP = (Trigger(source="", event="startup"),)


def triggers_of(when: When) -> tuple[Trigger, ...]:
    """What the job waits for; a job without triggers starts with the supervisor, unless it waits for its time."""
    return when.triggers or (() if when.cron is not None else STARTUP)


def key(trigger: Trigger) -> tuple[str, str]:
    """The source and event of the facts that a trigger waits for. Of a signal the name alone is the event."""
    return trigger.source, SignalReceived.event if trigger.source in SIGNALS else trigger.event


def matches(trigger: Trigger, fact: Fact) -> bool:
    return key(trigger) == (fact.source, fact.event)


def offer(when: When, seen: frozenset[Trigger], fact: Fact) -> tuple[frozenset[Trigger], bool]:
    """The triggers seen so far with this fact counted in, and whether the `when` comes true now.

    A `once` comes true a single time; an `each` every time, and starts counting anew.
    """
    wanted = triggers_of(when)
    news = frozenset(trigger for trigger in wanted if matches(trigger, fact))
    if not news or (not when.each and news <= seen):
        return seen, False
    seen = seen | news
    true = len(seen) == len(set(wanted))
    return (frozenset() if true and when.each else seen), true
