"""Watches one service by queries that Consul holds until something changes.

A look is a query, and looks begin at least the watch's interval apart: a change after a quiet time is seen at once, a
burst of changes costs one look for each interval, and a Consul that does not hold queries is polled at that interval.
On any error the last known state stays, and nothing is said.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autopilot.adapters.consul.client import HELD, WAIT, Client, Refused, Unreachable
from autopilot.spec.plan import Watch

FIRST_RETRY, LAST_RETRY = 0.1, 30.0  # s


@dataclass(frozen=True, slots=True)
class Instance:
    """What of an instance matters to who uses it."""

    node: str
    id: str
    address: str
    port: int
    tags: tuple[str, ...]


def healthy_instances(answer: Iterable[Mapping[str, Any]]) -> frozenset[Instance]:
    """Those whose every check passes (GET /v1/health/service/NAME)."""
    return frozenset(
        Instance(
            node=entry["Node"]["Node"],
            id=entry["Service"]["ID"],
            address=entry["Service"]["Address"] or entry["Node"]["Address"],
            port=entry["Service"]["Port"],
            tags=tuple(sorted(entry["Service"]["Tags"] or ())),
        )
        for entry in answer
        if all(check["Status"] == "passing" for check in entry["Checks"])
    )


def next_index(index: int, answered: int) -> int:
    """The index to ask with next. One that went backwards is of another history: from the beginning."""
    return answered if answered >= index else 0


async def watch(plan: Watch, client: Client, changed: Callable[[str, int], None]) -> None:
    """For as long as we live: `changed(name, count)` whenever the healthy instances are others than before."""
    loop = asyncio.get_running_loop()
    index, failures = 0, 0
    known: frozenset[Instance] = frozenset()
    while True:
        asked_at, held = loop.time(), index > 0
        try:
            answered, found = await _look(plan, client, index)
            now = healthy_instances(found)
            if known and not now and not await client.token_is_known():
                raise Refused("the token is not known")
        except (Unreachable, Refused):
            index, failures = 0, min(failures + 1, 10)
            await asyncio.sleep(min(FIRST_RETRY * 2**failures, LAST_RETRY) * (0.5 + random.random()))
            continue
        failures, index = 0, next_index(index, answered)
        if now != known:
            known = now
            changed(plan.name, len(now))
        if held:
            await asyncio.sleep(max(0.0, asked_at + plan.interval - loop.time()))


async def _look(plan: Watch, client: Client, index: int) -> tuple[int, list[Mapping[str, Any]]]:
    """Held until something is newer than `index`, 0: not held. Raises Unreachable, Refused."""
    request = client.api.health.service(
        plan.name, index=index or None, wait=f"{WAIT}s" if index else None, tag=plan.tag, dc=plan.dc
    )
    answered, found = await client.call(request, limit=HELD)
    return int(answered), found
