"""Keep the history of lives in Consul's KV store, which outlives the containers: one record for each life.

A record is written at the start of a life and again at its end. A life that was killed leaves no end: the start of its
successor on the same slot bounds it. The records of a month have a common prefix, so that an expired month is deleted
with one request.
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

from autopilot.adapters.consul import fleet_listing
from autopilot.adapters.consul.consul_errors import ConsulRefusedError, ConsulUnreachableError, reject_malformed_answers
from autopilot.adapters.consul.desired_services import LifeIdentity
from autopilot.bounded_text import clip_text
from autopilot.retry_delay import RetryDelay
from autopilot.timestamps import format_timestamp

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient

KEY_PREFIX = "autopilot/lives/"
MONTHS_KEPT = 12
DAY_S = 86400
MAX_RECORD_CHARS = 1 << 16  # in base64; a record has some 600 bytes
RETRY_DELAY = RetryDelay(first_s=1.0, max_s=60.0)


class HistoryStore:
    """The record of this life."""

    def __init__(self, life: LifeIdentity) -> None:
        self._life = life
        started, life_id = format_timestamp(life.started), life.meta.get("life", "")
        self._key = f"{KEY_PREFIX}{_format_month(life.started)}/{started}-{life_id[:8]}"
        self._end_fields: dict[str, str] = {}
        self._client: ConsulClient | None = None
        self._written_text = ""

    def record_end(self, reason: str, now: float) -> None:
        """Note the end of this life for the next write; `now` in seconds since the epoch."""
        self._end_fields = {"ended": format_timestamp(now), "reason": reason}

    async def write_and_purge(self, client: ConsulClient, on_refused: Callable[[str], None]) -> None:
        """Write the record, however long it takes; then delete the expired months.

        `on_refused` is called with the reason if Consul refuses the first attempt.
        """
        self._client = client
        failures = 0
        while not self._written_text:
            try:
                await self._write_record(client)
                await self._purge_expired(client)
            except (ConsulUnreachableError, ConsulRefusedError) as error:
                if isinstance(error, ConsulRefusedError) and not failures:
                    on_refused(str(error))
                failures += 1
                await asyncio.sleep(RETRY_DELAY.compute(failures, random.random()))

    async def close(self, timeout_s: float) -> None:
        """Write the end of this life into the record, if that succeeds within the time limit."""
        if self._client is not None and self._written_text != self._format_record():
            with suppress(ConsulUnreachableError, ConsulRefusedError):  # the last words on disk have it too
                await self._write_record(self._client, timeout_s)

    def _format_record(self) -> str:
        start_fields = {"hostname": self._life.hostname, "started": format_timestamp(self._life.started)}
        return json.dumps({**self._life.meta, **start_fields, **self._end_fields})

    async def _write_record(self, client: ConsulClient, timeout_s: float | None = None) -> None:
        text = self._format_record()
        request = client.api.kv.put(self._key, text)
        await (client.call(request, timeout_s=timeout_s) if timeout_s else client.call(request))
        self._written_text = text

    async def _purge_expired(self, client: ConsulClient) -> None:
        kv = client.api.kv
        _, folders = await client.call(kv.get(KEY_PREFIX, keys=True, separator="/"))
        with reject_malformed_answers():
            expired = select_expired_folders(folders or (), time.time())
        for folder in expired:
            await client.call(kv.delete(folder, recurse=True))


def _format_month(epoch_s: float) -> str:
    return format_timestamp(epoch_s)[: len("2026-01")]


def select_expired_folders(folders: Iterable[str], now: float) -> list[str]:
    """Return the folders of months that are no longer kept; `now` in seconds since the epoch."""
    year, month = (int(part) for part in _format_month(now).split("-"))
    first_kept = year * 12 + month - 1 - MONTHS_KEPT
    first_kept_folder = f"{KEY_PREFIX}{first_kept // 12:04d}-{first_kept % 12 + 1:02d}/"
    return [folder for folder in folders if folder < first_kept_folder]


async def list_lives(client: ConsulClient, running_at: float | None = None) -> list[dict[str, Any]]:
    """Return the completed records of all lives, the oldest first.

    Args:
        client: The client of an agent.
        running_at: Seconds since the epoch: return only lives that may have run then, which includes those that
            began a month before. None: all.

    Raises:
        ConsulUnreachableError: Consul cannot be reached.
        ConsulRefusedError: The token may not read the records, or Consul refuses for another reason.
    """
    months = [""]
    if running_at is not None:
        months = sorted({f"{_format_month(running_at + days * DAY_S)}/" for days in (-31, 0, 31)})
    items = [
        item
        for month in months
        for item in await client.read_with_stale_fallback(f"/v1/kv/{KEY_PREFIX}{month}", recurse="") or ()
    ]
    if not items and not await client.may_read_key(KEY_PREFIX):
        remedy = 'allow it key_prefix "autopilot/lives/" (read)'
        raise ConsulRefusedError(f"the token may not read the keys below {KEY_PREFIX}; {remedy}")
    records = [record for item in items if (record := parse_record(item.get("Value"))) is not None]
    registered = {container["life"]: container["status"] for container in await fleet_listing.list_containers(client)}
    return complete_lives(sorted(records, key=lambda record: str(record["started"])), registered)


def parse_record(value: object) -> dict[str, str] | None:
    """Return a record as Consul holds it, each field in bounded length; None for anything else.

    Every container writes here, so one that writes garbage must not hide the lives of the others.

    Args:
        value: The value of a key, in base64.
    """
    try:
        if not isinstance(value, str) or len(value) > MAX_RECORD_CHARS:
            return None
        record = json.loads(base64.b64decode(value))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    fields = {key: clip_text(text) for key, text in record.items() if isinstance(text, str)}
    return fields if fields.get("started") else None


def complete_lives(records: Iterable[Mapping[str, Any]], status_by_life: Mapping[str, str]) -> list[dict[str, Any]]:
    """Complete the records of lives without an end.

    Args:
        records: Records, the oldest first.
        status_by_life: The status (`parse_container`) of each life that is still registered, by its id.

    Returns:
        The records in the same order. One without an end has the reason `running`, `lost` (Consul gets no heartbeat)
        or `killed`, and `ended_before`: the start of the next life on its slot, if there was one.
    """
    next_start: dict[tuple[str, str], str] = {}
    completed: list[dict[str, Any]] = []
    for record in reversed(list(records)):
        slot = (str(record.get("host", "")), str(record.get("slot") or record.get("hostname", "")))
        life = dict(record)
        if not life.get("ended"):
            status = status_by_life.get(str(life.get("life", "")))
            life["reason"] = {None: "killed", "lost": "lost"}.get(status, "running")
            if status is None and slot in next_start:
                life["ended_before"] = next_start[slot]
        next_start[slot] = str(life["started"])
        completed.append(life)
    return completed[::-1]
