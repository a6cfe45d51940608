"""Which life ran where and when: one record of each life in Consul's KV store, which outlives the container.

A record is written at the start and once more at the end. The end of a life that was killed is in no record: its
successor's start on the same slot bounds it. Months are folders, so that what is too old goes in one request.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
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
        from autopilot.adapters.consul.client import understood

        assert self._client is not None, "pruned by who keeps it"
        kv = self._client.api.kv
        _, folders = await self._client.call(kv.get(PREFIX, keys=True, separator="/"))
        with understood():
            old = too_old(folders or (), time.time())
        for folder in old:
            await self._client.call(kv.delete(folder, recurse=True))


def too_old(folders: Iterable[str], now: float) -> list[str]:
    """Those of months that are no longer kept."""
    year, month = (int(part) for part in timestamp(now)[:7].split("-"))
    first = year * 12 + month - 1 - MONTHS_KEPT
    kept = f"{PREFIX}{first // 12:04d}-{first % 12 + 1:02d}/"
    return [folder for folder in folders if folder < kept]


async def lives(client: Client, at: float | None = None) -> list[dict[str, Any]]:
    """Every record, the oldest first, and what is known of those without an end. `at` (seconds since the epoch): only
    those that may have run then, which a life does that began a month before. Raises Unreachable, Refused."""
    from autopilot.adapters.consul import fleet
    from autopilot.adapters.consul.client import Refused

    months = [""] if at is None else sorted({timestamp(at + days * 86400)[:7] + "/" for days in (-31, 0, 31)})
    found = [item for month in months for item in await client.known(f"/v1/kv/{PREFIX}{month}", recurse="") or ()]
    if not found and not await client.may_read_key(PREFIX):
        raise Refused(f'the token may not read the keys below {PREFIX}; allow it key_prefix "autopilot/" (read)')
    records: list[dict[str, Any]] = [json.loads(base64.b64decode(item["Value"])) for item in found]
    registered = {container["life"]: container["status"] for container in await fleet.containers(client)}
    return completed(sorted(records, key=lambda record: str(record["started"])), registered)


def completed(records: Iterable[Mapping[str, Any]], registered: Mapping[str, str]) -> list[dict[str, Any]]:
    """The reason of each life without an end: it is `running`, `lost` (Consul hears nothing of it) or was `killed`;
    and, if another life took its place on the slot, before when (`ended_before`). The oldest first."""
    successor: dict[tuple[str, str], str] = {}
    told: list[dict[str, Any]] = []
    for record in reversed(list(records)):
        place = (str(record.get("host", "")), str(record.get("slot") or record.get("hostname", "")))
        life = dict(record)
        if not life.get("ended"):
            status = registered.get(str(life.get("life", "")))
            life["reason"] = {None: "killed", "lost": "lost"}.get(status, "running")
            if status is None and place in successor:
                life["ended_before"] = successor[place]
        successor[place] = str(life["started"])
        told.append(life)
    return told[::-1]
