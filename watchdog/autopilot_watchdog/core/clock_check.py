"""A clock that jumps must neither hold a slot back, nor hurry it, nor make a life look short.

The kernel counts the seconds since its start whatever the clock says. So the time at which it started, by the clock,
moves by exactly what the clock jumped, and all that is remembered moves with it. An engine's stamps do not: they are of
the clock as it was. Where they contradict what is remembered of the life, the memory is right.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from autopilot_watchdog.core.memory import Memory, SlotMemory
from autopilot_watchdog.core.observation import Container, Observation

MIN_CLOCK_JUMP_S = 5.0  # s; less is a clock being corrected, and harms nothing
START_SLACK_S = 60.0  # s; an engine may take so long to answer that it started a container


def apply_clock_change(memory: Memory, observation: Observation, now: float) -> Memory:
    """The memory by the present clock."""
    by = observation.booted - memory.booted
    if observation.boot and observation.boot == memory.boot:
        memory = _shift_times(memory, by) if abs(by) > MIN_CLOCK_JUMP_S else memory
    elif now < memory.last_pass:
        memory = _clear_waits(memory, now)  # over a reboot nobody knows by how much
    if (memory.boot, memory.booted) != (observation.boot, observation.booted):
        memory = replace(memory, boot=observation.boot, booted=observation.booted)
    return memory


def fix_container_times(container: Container, slot: SlotMemory, now: float) -> Container:
    """The container with a life as long as it was. `slot`: what is remembered, by the present clock."""
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


def _shift_times(found: Any, seconds: float) -> Any:
    """The same with every time in it later by so much. 0 is "never", and stays."""
    if is_dataclass(found) and not isinstance(found, type):
        return replace(found, **{field.name: _shift_field(found, field.name, seconds) for field in fields(found)})
    if isinstance(found, dict):
        return {key: _shift_times(value, seconds) for key, value in found.items()}
    if isinstance(found, tuple):
        return tuple(_shift_times(value, seconds) for value in found)
    return found


def _shift_field(found: Any, name: str, seconds: float) -> Any:
    value = getattr(found, name)
    if name in TIME_FIELDS:
        return value + seconds if value else value
    return value if name in ("lost", "counts") else _shift_times(value, seconds)


TIME_FIELDS = frozenset(
    {"last_pass", "last_success", "not_before", "head_at", "asked_at", "first_seen"}
    | {"since", "life_started", "started", "ended"}
)


def _clear_waits(memory: Memory, now: float) -> Memory:
    """After the clock went backwards no wait may end later than it would have: all waits are forgotten."""
    kept = {
        key: replace(
            image,
            asked_at=0.0,
            trials={
                digest: replace(trial, not_before=0.0, first_seen=min(trial.first_seen, now))
                for digest, trial in image.trials.items()
            },
        )
        for key, image in memory.images.items()
    }
    slots = {name: replace(slot, not_before=0.0, since=min(slot.since, now)) for name, slot in memory.slots.items()}
    return replace(memory, images=kept, slots=slots, not_before=0.0, last_pass=now)
