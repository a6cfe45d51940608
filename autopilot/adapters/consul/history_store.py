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

from autopilot.adapters.consul.desired_services import LifeIdentity, format_timestamp

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient

KEY_PREFIX = "autopilot/lives/"
MONTHS_KEPT = 12
FIRST_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 1.0, 60.0  # s


class HistoryStore:
    """The record of this life."""

    def __init__(self, life: LifeIdentity) -> None:
        self._life = life
        self._key = f"{KEY_PREFIX}{format_timestamp(life.started)[:7]}/{format_timestamp(life.started)}-{life.meta.get('life', '')[:8]}"
        self._end_fields: dict[str, str] = {}
        self._client: ConsulClient | None = None
        self._written_text = ""

    def record_end(self, reason: str, now: float) -> None:
        self._end_fields = {"ended": format_timestamp(now), "reason": reason}

    async def write_and_purge(self, client: ConsulClient, on_refused: Callable[[str], None]) -> None:
        """Write the record, however long it takes; then remove what is too old. `refused` hears why it is not taken."""
        from autopilot.adapters.consul.consul_client import ConsulRefusedError, ConsulUnreachableError

        self._client = client
        attempt = 0
        while not self._written_text:
            try:
                await self._write_record()
                await self._purge_expired()
            except (ConsulUnreachableError, ConsulRefusedError) as error:
                if isinstance(error, ConsulRefusedError) and not attempt:
                    on_refused(str(error))
                await asyncio.sleep(min(FIRST_RETRY_DELAY_S * 2**attempt, MAX_RETRY_DELAY_S) * (0.5 + random.random()))
                attempt = min(attempt + 1, 10)

    async def close(self, timeout_s: float) -> None:
        """Write the end into the record, if that can be done within the budget."""
        from autopilot.adapters.consul.consul_client import ConsulRefusedError, ConsulUnreachableError

        if self._client is not None and self._written_text != self._format_record():
            with suppress(ConsulUnreachableError, ConsulRefusedError):  # the last words on disk have it
                await self._write_record(timeout_s)

    def _format_record(self) -> str:
        started = {"hostname": self._life.hostname, "started": format_timestamp(self._life.started)}
        return json.dumps({**self._life.meta, **started, **self._end_fields})

    async def _write_record(self, timeout_s: float | None = None) -> None:
        assert self._client is not None, "written by who keeps it"
        text = self._format_record()
        request = self._client.api.kv.put(self._key, text)
        await (self._client.call(request, timeout_s=timeout_s) if timeout_s else self._client.call(request))
        self._written_text = text

    async def _purge_expired(self) -> None:
        from autopilot.adapters.consul.consul_client import reject_malformed_answers

        assert self._client is not None, "pruned by who keeps it"
        kv = self._client.api.kv
        _, folders = await self._client.call(kv.get(KEY_PREFIX, keys=True, separator="/"))
        with reject_malformed_answers():
            old = select_expired_folders(folders or (), time.time())
        for folder in old:
            await self._client.call(kv.delete(folder, recurse=True))


def select_expired_folders(folders: Iterable[str], now: float) -> list[str]:
    """Those of months that are no longer kept."""
    year, month = (int(part) for part in format_timestamp(now)[:7].split("-"))
    first = year * 12 + month - 1 - MONTHS_KEPT
    kept = f"{KEY_PREFIX}{first // 12:04d}-{first % 12 + 1:02d}/"
    return [folder for folder in folders if folder < kept]


async def list_lives(client: ConsulClient, running_at: float | None = None) -> list[dict[str, Any]]:
    """Every record, the oldest first, and what is known of those without an end. `at` (seconds since the epoch): only
    those that may have run then, which a life does that began a month before. Raises Unreachable, Refused."""
    from autopilot.adapters.consul import fleet_listing
    from autopilot.adapters.consul.consul_client import ConsulRefusedError

    months = (
        [""]
        if running_at is None
        else sorted({format_timestamp(running_at + days * 86400)[:7] + "/" for days in (-31, 0, 31)})
    )
    found = [
        item
        for month in months
        for item in await client.read_with_stale_fallback(f"/v1/kv/{KEY_PREFIX}{month}", recurse="") or ()
    ]
    if not found and not await client.may_read_key(KEY_PREFIX):
        raise ConsulRefusedError(
            f'the token may not read the keys below {KEY_PREFIX}; allow it key_prefix "autopilot/" (read)'
        )
    records: list[dict[str, Any]] = [json.loads(base64.b64decode(item["Value"])) for item in found]
    registered = {container["life"]: container["status"] for container in await fleet_listing.list_containers(client)}
    return complete_lives(sorted(records, key=lambda record: str(record["started"])), registered)


def complete_lives(records: Iterable[Mapping[str, Any]], status_by_life: Mapping[str, str]) -> list[dict[str, Any]]:
    """The reason of each life without an end: it is `running`, `lost` (Consul hears nothing of it) or was `killed`;
    and, if another life took its place on the slot, before when (`ended_before`). The oldest first."""
    successor: dict[tuple[str, str], str] = {}
    told: list[dict[str, Any]] = []
    for record in reversed(list(records)):
        place = (str(record.get("host", "")), str(record.get("slot") or record.get("hostname", "")))
        life = dict(record)
        if not life.get("ended"):
            status = status_by_life.get(str(life.get("life", "")))
            life["reason"] = {None: "killed", "lost": "lost"}.get(status, "running")
            if status is None and place in successor:
                life["ended_before"] = successor[place]
        successor[place] = str(life["started"])
        told.append(life)
    return told[::-1]
