"""Keep slots empty by the operator's order: a cordoned slot is not filled, and its container runs on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from autopilot_watchdog.core.memory import Cordon, Memory
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.errors import WatchdogError

WHOLE_HOST = "*"  # the key of a cordon around every slot of the host


class CordonError(WatchdogError):
    """The order changes nothing; the message has the remedy."""


def find_cordon(memory: Memory, slot: str) -> Cordon | None:
    """Return the cordon that keeps a slot empty; None for none."""
    return memory.cordons.get(slot) or memory.cordons.get(WHOLE_HOST)


def explain_cordon(memory: Memory, slot: str) -> Reason | None:
    """Return the reason of a slot that is kept empty by a cordon; None for any other."""
    cordon = find_cordon(memory, slot)
    if cordon is None:
        return None
    is_of_slot = slot in memory.cordons
    remedy = f"`uncordon {slot}`" if is_of_slot else "`uncordon`"
    place = "the slot" if is_of_slot else "the host"
    reason = f" ({cordon.reason})" if cordon.reason else ""
    return Reason("cordoned", f"{cordon.by} cordoned {place}{reason}, so it is not filled; {remedy} ends that")


def add_cordons(memory: Memory, slots: Iterable[str], cordon: Cordon) -> tuple[Memory, str]:
    """Cordon slots, or the whole host if none is given; an earlier cordon keeps its time and reason."""
    names = list(dict.fromkeys(slots)) or [WHOLE_HOST]
    added = {name: cordon for name in names if name not in memory.cordons}
    shown = "the host" if names == [WHOLE_HOST] else ", ".join(names)
    memory = replace(memory, cordons={**memory.cordons, **added})
    state = "cordoned" if added else "cordoned already"
    return (
        memory,
        f"{shown} {'are' if len(names) > 1 else 'is'} {state}: not filled until `uncordon`; containers run on",
    )


def remove_cordons(memory: Memory, slots: Iterable[str]) -> tuple[Memory, str]:
    """End the cordons of slots, or every cordon if none is given.

    Raises:
        CordonError: There is no such cordon.
    """
    names = list(dict.fromkeys(slots))
    if not names and not memory.cordons:
        raise CordonError("nothing is cordoned")
    for name in names:
        if name not in memory.cordons:
            remedy = "the whole host is: `uncordon` without a slot" if WHOLE_HOST in memory.cordons else "see `status`"
            raise CordonError(f"{name} is not cordoned; {remedy}")
    ended = names or list(memory.cordons)
    kept = {name: cordon for name, cordon in memory.cordons.items() if name not in ended}
    shown = ", ".join("the host" if name == WHOLE_HOST else name for name in ended)
    sentence = f"no cordon any more: {shown}; the next pass fills empty slots"
    if WHOLE_HOST in kept:
        sentence = f"no cordon of its own any more: {shown}; the whole host is still cordoned"
    return replace(memory, cordons=kept), sentence
