"""Follows what others put into Consul, by queries that it holds until something changes.

A look is a query, and looks begin at least an interval apart: a change after a quiet time is seen at once, a burst of
changes costs one look for each interval, and a Consul that does not hold queries is polled at that interval. A query
that returns is no proof of a change: contents are compared. On any error the last known state stays, and nothing is
said.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autopilot.adapters.consul.client import HELD, WAIT, Client, Refused, Unreachable

FIRST_RETRY, LAST_RETRY = 0.1, 30.0  # s
UNKNOWN = object()  # what is known before the first look


@dataclass(frozen=True, slots=True)
class Instance:
    """What of an instance matters to who uses it."""

    node: str
    id: str
    address: str
    port: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is followed: the query for an index (0: not held), and how its answer is read."""

    ask: Callable[[Client, int], Any]
    read: Callable[[Any], Any]
    interval: float = 1.0  # s


def service(name: str, *, tag: str | None = None, dc: str | None = None, interval: float = 1.0) -> Subject:
    """Its healthy instances, as a tuple in order."""

    def ask(client: Client, index: int) -> Any:
        return client.api.health.service(name, tag=tag, dc=dc, **_held(index))

    return Subject(ask=ask, read=healthy_instances, interval=interval)


def key(path: str) -> Subject:
    """Its text, None when there is no such key."""
    return Subject(ask=lambda client, index: client.api.kv.get(path, **_held(index)), read=_text)


def value(path: str, *, dc: str | None = None, interval: float = 1.0) -> Subject:
    """A key's bytes, None when there is no such key."""

    def ask(client: Client, index: int) -> Any:
        return client.api.kv.get(path, dc=dc, **_held(index))

    return Subject(ask=ask, read=_bytes, interval=interval)


def keys(prefix: str) -> Subject:
    """The texts below a prefix, by the rest of their names."""
    start = prefix if prefix.endswith("/") else f"{prefix}/"

    def read(items: Any) -> dict[str, str]:
        return {item["Key"].removeprefix(start): _text(item) or "" for item in items or () if item["Key"] != start}

    return Subject(ask=lambda client, index: client.api.kv.get(start, recurse=True, **_held(index)), read=read)


def _held(index: int) -> dict[str, Any]:
    return {"index": index, "wait": f"{WAIT}s"} if index else {}


def _bytes(item: Mapping[str, Any] | None) -> bytes | None:
    return None if item is None else item["Value"] or b""


def _text(item: Mapping[str, Any] | None) -> str | None:
    return None if item is None else (item["Value"] or b"").decode(errors="replace")


def healthy_instances(answer: Iterable[Mapping[str, Any]]) -> tuple[Instance, ...]:
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


def next_index(index: int, answered: int) -> int:
    """The index to ask with next. One that went backwards is of another history: from the beginning."""
    return answered if answered >= index else 0


async def follow(
    subject: Subject,
    client: Client,
    changed: Callable[[Any], None],
    *,
    known: Any = UNKNOWN,
    refused: Callable[[str | None], None] = lambda _: None,
) -> None:
    """For as long as we live: `changed(content)` whenever it is another than was `known`; `refused(why)` when Consul
    begins to refuse the question, `refused(None)` when it answers again."""
    loop = asyncio.get_running_loop()
    index, failures, denied = 0, 0, False
    while True:
        asked_at, held = loop.time(), index > 0
        try:
            answered, found = await client.call(subject.ask(client, index), limit=HELD)
            content = subject.read(found)
            if not content and known and known is not UNKNOWN and not await client.token_is_known():
                raise Refused("the token is not known")
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and not denied:
                denied = True
                refused(str(error))
            index, failures = 0, min(failures + 1, 10)
            await asyncio.sleep(min(FIRST_RETRY * 2**failures, LAST_RETRY) * (0.5 + random.random()))
            continue
        if denied:
            denied = False
            refused(None)
        failures, index = 0, next_index(index, int(answered))
        if content != known:
            known = content
            changed(content)
        if held:
            await asyncio.sleep(max(0.0, asked_at + subject.interval - loop.time()))
