"""Correct remembered times after a jump of the clock, so that no slot is held back, hurried or judged by it.

Theory of operation. The kernel counts the seconds since its start independently of the clock. So the start time by the
clock moves by exactly the jump, and every time in the memory is moved by the same amount. The engine's times do not
move: they were taken from the clock before the jump. If they contradict the memory of a life, the memory is right.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from autopilot_watchdog.core.memory import Memory, SlotMemory
from autopilot_watchdog.core.observation import Container, Observation
from autopilot_watchdog.core.preparation_waits import clear_next_tries

MIN_CLOCK_JUMP_S = 5.0  # less is an ordinary correction of the clock and does no harm
START_SLACK_S = 60.0  # an engine may take so long to answer that it started a container


def apply_clock_change(memory: Memory, observation: Observation, now: float) -> Memory:
    """Return the memory with its times by the present clock."""
    jump_s = observation.booted - memory.booted
    if observation.boot and observation.boot == memory.boot:
        memory = _shift_times(memory, jump_s) if abs(jump_s) > MIN_CLOCK_JUMP_S else memory
    elif now < memory.last_pass:
        memory = _clear_waits(memory, now)  # a jump over a reboot cannot be measured
    if (memory.boot, memory.booted) != (observation.boot, observation.booted):
        memory = replace(memory, boot=observation.boot, booted=observation.booted)
    return memory


def fix_container_times(container: Container, slot: SlotMemory, now: float) -> Container:
    """Return the container with times that give the true length of its life.

    Args:
        container: The container with the engine's times.
        slot: The memory of its slot, by the present clock.
        now: Epoch seconds by the present clock.
    """
    if slot.container != container.id or not slot.started or not container.started:
        return container
    longest = max(0.0, now - slot.started)
    lived = container.ended - container.started
    same_clock = abs(container.started - slot.started) <= START_SLACK_S
    if container.alive or (same_clock and 0 <= lived <= longest + START_SLACK_S):
        return container if same_clock else replace(container, started=slot.started)
    lived = container.ended - slot.started
    lived = lived if 0 <= lived <= longest else longest
    return replace(container, started=slot.started, ended=slot.started + lived)


def _shift_times(record: Any, seconds: float) -> Any:
    """Add `seconds` to every time in a record; 0 means never and stays 0."""
    if is_dataclass(record) and not isinstance(record, type):
        return replace(record, **{field.name: _shift_field(record, field.name, seconds) for field in fields(record)})
    if isinstance(record, dict):
        return {key: _shift_times(value, seconds) for key, value in record.items()}
    if isinstance(record, tuple):
        return tuple(_shift_times(value, seconds) for value in record)
    return record


def _shift_field(record: Any, name: str, seconds: float) -> Any:
    value = getattr(record, name)
    if name in TIME_FIELDS:
        return value + seconds if value else value
    return value if name in ("lost", "counts") else _shift_times(value, seconds)


TIME_FIELDS = frozenset(
    {"last_pass", "last_success", "not_before", "answered_at", "asked_at", "first_seen", "config_refused"}
    | {"since", "life_started", "started", "ended", "failed_at", "failing_since", "found_at", "begin"}
)


def _clear_waits(memory: Memory, now: float) -> Memory:
    """Forget all waits: after the clock went backwards they would end too late."""
    kept = {
        key: replace(
            image,
            asked_at=0.0,
            records={
                digest: replace(clear_next_tries(record), first_seen=min(record.first_seen, now))
                for digest, record in image.records.items()
            },
        )
        for key, image in memory.images.items()
    }
    slots = {name: replace(slot, not_before=0.0, since=min(slot.since, now)) for name, slot in memory.slots.items()}
    return replace(memory, images=kept, slots=slots, not_before=0.0, last_pass=now)
