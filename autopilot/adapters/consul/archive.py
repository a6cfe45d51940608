"""Which life ran where and when: one record of each life in Consul's KV store, which outlives the container.

A record is written at the start and once more at the end. The end of a life that was killed is in no record: its
successor's start on the same slot bounds it. Months are folders, so that what is too old goes in one request.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from autopilot.adapters.consul.offers import Life, timestamp

if TYPE_CHECKING:
    from autopilot.adapters.consul.client import Client

PREFIX = "autopilot/lives/"
MONTHS_KEPT = 12
FIRST_RETRY, LAST_RETRY = 1.0, 60.0  # s


class Archive:
    """The record of this life."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._key = f"{PREFIX}{timestamp(life.started)[:7]}/{timestamp(life.started)}-{life.meta.get('life', '')[:8]}"
        self._ended: dict[str, str] = {}
        self._client: Client | None = None
        self._written = ""

    def ending(self, reason: str, now: float) -> None:
        self._ended = {"ended": timestamp(now), "reason": reason}

    async def keep(self, client: Client, refused: Callable[[str], None]) -> None:
        """Write the record, however long it takes; then remove what is too old. `refused` hears why it is not taken."""
        from autopilot.adapters.consul.client import Refused, Unreachable

        self._client = client
        attempt = 0
        while not self._written:
            try:
                await self._write()
                await self._prune()
            except (Unreachable, Refused) as error:
                if isinstance(error, Refused) and not attempt:
                    refused(str(error))
                await asyncio.sleep(min(FIRST_RETRY * 2**attempt, LAST_RETRY) * (0.5 + random.random()))
                attempt = min(attempt + 1, 10)

    async def close(self, budget: float) -> None:
        """Write the end into the record, if that can be done within the budget."""
        from autopilot.adapters.consul.client import Refused, Unreachable

        if self._client is not None and self._written != self._text():
            with suppress(Unreachable, Refused):  # the last words on disk have it
                await self._write(budget)

    def _text(self) -> str:
        started = {"hostname": self._life.hostname, "started": timestamp(self._life.started)}
        return json.dumps({**self._life.meta, **started, **self._ended})

    async def _write(self, budget: float | None = None) -> None:
        assert self._client is not None, "written by who keeps it"
        text = self._text()
        request = self._client.api.kv.put(self._key, text)
        await (self._client.call(request, limit=budget) if budget else self._client.call(request))
        self._written = text

    async def _prune(self) -> None:
        assert self._client is not None, "pruned by who keeps it"
        kv = self._client.api.kv
        _, folders = await self._client.call(kv.get(PREFIX, keys=True, separator="/"))
        for folder in too_old(folders or (), time.time()):
            await self._client.call(kv.delete(folder, recurse=True))


def too_old(folders: Iterable[str], now: float) -> list[str]:
    """Those of months that are no longer kept."""
    year, month = (int(part) for part in timestamp(now)[:7].split("-"))
    first = year * 12 + month - 1 - MONTHS_KEPT
    kept = f"{PREFIX}{first // 12:04d}-{first % 12 + 1:02d}/"
    return [folder for folder in folders if folder < kept]


async def lives(client: Client) -> list[dict[str, Any]]:
    """Every record, the oldest first. Raises Unreachable, Refused."""
    _, found = await client.call(client.api.kv.get(PREFIX, recurse=True))
    records: list[dict[str, Any]] = [json.loads(item["Value"]) for item in found or ()]
    return sorted(records, key=lambda record: str(record["started"]))
