"""Follows what others put into Consul, by queries that it holds until something changes.

A look is a query, and looks begin at least an interval apart: a change after a quiet time is seen at once, a burst of
changes costs one look for each interval, and a Consul that does not hold queries is polled at that interval. A query
that returns is no proof of a change: contents are compared. On any error the last known state stays. A token that may
not read something is shown nothing, without any error: whoever misses what was there asks whether it may still look.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autopilot.adapters.consul.consul_client import (
    BLOCKING_QUERY_TIMEOUT_S,
    BLOCKING_WAIT_S,
    ConsulClient,
    ConsulRefusedError,
    ConsulUnreachableError,
    compute_next_index,
    reject_malformed_answers,
)

FIRST_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 0.1, 10.0  # s
FAILURES_BEFORE_REPORT = 5  # failures in a row, some 3 s: no election of a leader takes so long
NOT_READ_YET = object()  # what is known before the first look


@dataclass(frozen=True, slots=True)
class Instance:
    """What of an instance matters to who uses it."""

    node: str
    id: str
    address: str
    port: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is followed: the query for an index (0: not held), how its answer is read, and whether Consul still lets us
    see what was there (`known`) and is not in the new content."""

    request: Callable[[ConsulClient, int], Any]
    parse: Callable[[Any], Any]
    can_still_read: Callable[[ConsulClient, Any, Any], Awaitable[bool]]
    interval: float = 1.0  # s


def build_service_query(name: str, *, tag: str | None = None, dc: str | None = None, interval: float = 1.0) -> Query:
    """Its healthy instances, as a tuple in order."""

    def request(client: ConsulClient, index: int) -> Any:
        return client.api.health.service(name, tag=tag, dc=dc, **_build_blocking_params(index))

    async def can_still_read(client: ConsulClient, known: Any, content: tuple[Instance, ...]) -> bool:
        if known is NOT_READ_YET:
            return bool(content) or await client.may_read_service(name, (), dc)
        gone = {(i.node, i.id) for i in known} - {(i.node, i.id) for i in content}
        return not gone or await client.may_read_service(name, sorted({node for node, _ in gone}), dc)

    return Query(request=request, parse=parse_healthy_instances, can_still_read=can_still_read, interval=interval)


def build_key_text_query(path: str) -> Query:
    """Its text, None when there is no such key."""
    return Query(
        request=lambda client, index: client.api.kv.get(path, **_build_blocking_params(index)),
        parse=_get_value_text,
        can_still_read=_can_always_read,
    )


async def _can_always_read(*_: object) -> bool:
    """One key is not hidden: Consul refuses it."""
    return True


def build_key_bytes_query(path: str, *, dc: str | None = None, interval: float = 1.0) -> Query:
    """A key's bytes, None when there is no such key."""

    def request(client: ConsulClient, index: int) -> Any:
        return client.api.kv.get(path, dc=dc, **_build_blocking_params(index))

    return Query(request=request, parse=_get_value_bytes, can_still_read=_can_always_read, interval=interval)


def build_prefix_query(prefix: str) -> Query:
    """The texts below a prefix, by the rest of their names."""
    start = prefix if prefix.endswith("/") else f"{prefix}/"

    def parse(items: Any) -> dict[str, str]:
        return {
            item["Key"].removeprefix(start): _get_value_text(item) or "" for item in items or () if item["Key"] != start
        }

    async def can_still_read(client: ConsulClient, known: Any, content: dict[str, str]) -> bool:
        gone = () if known is NOT_READ_YET else known.keys() - content.keys()
        return not gone or await client.may_read_key(start + min(gone))

    return Query(
        request=lambda client, index: client.api.kv.get(start, recurse=True, **_build_blocking_params(index)),
        parse=parse,
        can_still_read=can_still_read,
    )


def _build_blocking_params(index: int) -> dict[str, Any]:
    return {"index": index, "wait": f"{BLOCKING_WAIT_S}s"} if index else {}


def _get_value_bytes(item: Mapping[str, Any] | None) -> bytes | None:
    return None if item is None else item["Value"] or b""


def _get_value_text(item: Mapping[str, Any] | None) -> str | None:
    return None if item is None else (item["Value"] or b"").decode(errors="replace")


def parse_healthy_instances(answer: Iterable[Mapping[str, Any]]) -> tuple[Instance, ...]:
    """Those whose every check passes (GET /v1/health/service/NAME)."""
    instances = [
        Instance(
            node=entry["Node"]["Node"],
            id=entry["Service"]["ID"],
            address=entry["Service"]["Address"] or entry["Node"]["Address"],
            port=entry["Service"]["Port"],
            tags=tuple(sorted(entry["Service"]["Tags"] or ())),
        )
        for entry in answer
        if all(check["Status"] == "passing" for check in entry["Checks"])
    ]
    return tuple(sorted(instances, key=lambda instance: (instance.node, instance.id)))


async def run_blocking_query(
    query: Query,
    client: ConsulClient,
    on_change: Callable[[Any], None],
    *,
    known: Any = NOT_READ_YET,
    on_refused: Callable[[str | None], None],
) -> None:
    """For as long as we live: `changed(content)` whenever it is another than was `known`; `refused(why)` when Consul
    will not let us look, `refused(None)` when it does again."""
    loop = asyncio.get_running_loop()
    index, failures, blind = 0, 0, False
    while True:
        asked_at, held = loop.time(), index > 0
        try:
            answered, found = await client.call(query.request(client, index), timeout_s=BLOCKING_QUERY_TIMEOUT_S)
            with reject_malformed_answers():
                content, answered = query.parse(found), int(answered)
            if not await query.can_still_read(client, known, content):
                raise ConsulRefusedError("the token may not read it")
        except (ConsulUnreachableError, ConsulRefusedError) as error:
            index, failures = 0, min(failures + 1, 10)
            if isinstance(error, ConsulRefusedError) and not blind and failures >= FAILURES_BEFORE_REPORT:
                blind = True
                on_refused(str(error))
            await client.wait_until_reachable(
                min(FIRST_RETRY_DELAY_S * 2**failures, MAX_RETRY_DELAY_S) * (0.5 + random.random())
            )
            continue
        if blind:
            blind = False
            on_refused(None)
        failures, index = 0, compute_next_index(index, answered)
        if content != known:
            known = content
            on_change(content)
        if held:
            await asyncio.sleep(max(0.0, asked_at + query.interval - loop.time()))
