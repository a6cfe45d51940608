"""Compare the containers that Consul knows with the nodes that a pool's collector knows, by the life both tell. Pure.

Neither list is the truth: a container may be alive and not in the pool (a bad token), and a node may be in the pool and
not in Consul (no agent, or a container that was killed, whose ads the collector keeps for some minutes).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autopilot.adapters.batch.htcondor.pool_listing import PoolSlot
from autopilot.amounts import format_count

COLUMNS = ("POOL", "CLAIMS")
JOINED, ABSENT, NO_NODE = "joined", "absent", ""
UNKNOWN_STATUS = "unknown"  # to Consul
BATCH_SYSTEM = "htcondor"
MAX_KINDS = 4  # of slots in one cell
MAX_STATE_CHARS = 40


def merge_pool(
    containers: Iterable[Mapping[str, Any]], slots: Iterable[PoolSlot], blank: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the containers, each with the key `pool`, then a row for each node that Consul does not know.

    `pool` has the `state` ("joined", "absent", or "" for a container that is no HTCondor node), the names of the
    `nodes`, the `slots` (name, state, activity) and the number of `claims`.

    Args:
        containers: The containers that Consul knows.
        slots: The slots that the collector knows.
        blank: A container of which nothing is known.
    """
    slots_by_life: dict[str, list[PoolSlot]] = defaultdict(list)
    for slot in slots:
        slots_by_life[slot.life].append(slot)
    merged = []
    for container in containers:
        found = slots_by_life.get(container["life"], []) if container["life"] else []
        absence = ABSENT if container["batch_system"] == BATCH_SYSTEM else NO_NODE
        merged.append({**container, "pool": _build_pool(found, absence)})
    known = {container["life"] for container in merged if container["life"]}
    for life, found in sorted(slots_by_life.items()):
        if life not in known:
            place = {"life": life, "host": found[0].machine, "batch_system": BATCH_SYSTEM, "status": UNKNOWN_STATUS}
            merged.append({**blank, **place, "pool": _build_pool(found, NO_NODE)})
    return merged


def _build_pool(slots: Sequence[PoolSlot], absence: str) -> dict[str, Any]:
    return {
        "state": JOINED if slots else absence,
        "nodes": sorted({slot.node for slot in slots}),
        "slots": [
            {"name": slot.name, "state": slot.state, "activity": slot.activity}
            for slot in sorted(slots, key=lambda slot: slot.name)
        ],
        "claims": sum(slot.state == "Claimed" for slot in slots),
    }


def build_cells(container: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of COLUMNS: the slots by state and activity, and the number of claims."""
    pool = container["pool"]
    if pool["state"] != JOINED:
        return pool["state"] or "-", "-"
    kinds = Counter(f"{slot['state'][:MAX_STATE_CHARS]}/{slot['activity'][:MAX_STATE_CHARS]}" for slot in pool["slots"])
    shown = [f"{count} {kind}" for kind, count in sorted(kinds.items())[:MAX_KINDS]]
    text = ", ".join([*shown, "..."] if len(kinds) > MAX_KINDS else shown)
    nodes = len(pool["nodes"])
    return (f"{nodes} nodes: {text}" if nodes > 1 else text), str(pool["claims"])


def format_pool_summary(containers: Sequence[Mapping[str, Any]]) -> str:
    """Return a line that counts nodes and slots, and the nodes that only one of both lists has."""
    pools = [container["pool"] for container in containers]
    nodes, slots, claims = (
        sum(len(pool["nodes"]) for pool in pools),
        sum(len(pool["slots"]) for pool in pools),
        sum(pool["claims"] for pool in pools),
    )
    parts = [f"{format_count(nodes, 'node')} in the pool with {format_count(slots, 'slot')}, {claims} claimed"]
    absent = sum(pool["state"] == ABSENT for pool in pools)
    unknown = sum(container["status"] == UNKNOWN_STATUS for container in containers)
    doubled = sum(len(pool["nodes"]) > 1 for pool in pools)
    if absent:
        parts.append(f"{format_count(absent, 'container')} in Consul only (absent)")
    if unknown:
        parts.append(f"{format_count(unknown, 'node')} in the pool only (unknown)")
    if doubled:
        parts.append(f"{format_count(doubled, 'container')} claimed by several nodes")
    return "; ".join(parts)
