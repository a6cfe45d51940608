"""Remember dead containers that could not be removed: their slots stay empty until they are gone.

The engine may be wrong about such a container, and its payload may still use the slot's scratch. Each pass tries to
remove it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from autopilot_watchdog.core.memory import Memory, StuckContainer
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.slot_actions import RemoveContainer


def record_removal(memory: Memory, removal: RemoveContainer, error: str, now: float) -> Memory:
    """Return the memory after an attempt to remove a dead container; `error` is "" after a success."""
    known = memory.stuck.get(removal.container)
    others = {id: stuck for id, stuck in memory.stuck.items() if id != removal.container}
    if error:
        others[removal.container] = StuckContainer(removal.slot, known.since if known else now, error)
    return replace(memory, stuck=others) if others != memory.stuck else memory


def forget_gone_containers(memory: Memory, dead: Iterable[str]) -> Memory:
    """Return the memory without containers that are gone or alive again.

    Args:
        memory: The memory before.
        dead: The ids of the dead containers that the engines have, and of all containers of silent engines.
    """
    present = set(dead)
    if all(id in present for id in memory.stuck):
        return memory
    return replace(memory, stuck={id: stuck for id, stuck in memory.stuck.items() if id in present})


def explain_stuck_slot(memory: Memory, slot: str) -> Reason | None:
    """Return the reason of a slot with a dead container that cannot be removed; None for any other."""
    for id, stuck in memory.stuck.items():
        if stuck.slot == slot:
            return Reason(
                "unremovable",
                f"its dead container {id[:12]} cannot be removed, so nothing is started beside it: {stuck.sentence}",
            )
    return None
