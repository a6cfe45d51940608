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

from autopilot.adapters.consul.client import HELD, WAIT, Client, Refused, Unreachable, next_index, understood

FIRST_RETRY, LAST_RETRY = 0.1, 10.0  # s
BLIND = 5  # failures in a row, some 3 s: no election of a leader takes so long
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
    """What is followed: the query for an index (0: not held), how its answer is read, and whether Consul still lets us
    see what was there (`known`) and is not in the new content."""

    ask: Callable[[Client, int], Any]
    read: Callable[[Any], Any]
    may_look: Callable[[Client, Any, Any], Awaitable[bool]]
    interval: float = 1.0  # s


def service(name: str, *, tag: str | None = None, dc: str | None = None, interval: float = 1.0) -> Subject:
    """Its healthy instances, as a tuple in order."""

    def ask(client: Client, index: int) -> Any:
        return client.api.health.service(name, tag=tag, dc=dc, **_held(index))

    async def may_look(client: Client, known: Any, content: tuple[Instance, ...]) -> bool:
        if known is UNKNOWN:
            return bool(content) or await client.may_read_service(name, (), dc)
        gone = {(i.node, i.id) for i in known} - {(i.node, i.id) for i in content}
        return not gone or await client.may_read_service(name, sorted({node for node, _ in gone}), dc)

    return Subject(ask=ask, read=healthy_instances, may_look=may_look, interval=interval)


def key(path: str) -> Subject:
    """Its text, None when there is no such key."""
    return Subject(
        ask=lambda client, index: client.api.kv.get(path, **_held(index)), read=_text, may_look=_refused_otherwise
    )


async def _refused_otherwise(*_: object) -> bool:
    """One key is not hidden: Consul refuses it."""
    return True


def value(path: str, *, dc: str | None = None, interval: float = 1.0) -> Subject:
    """A key's bytes, None when there is no such key."""

    def ask(client: Client, index: int) -> Any:
        return client.api.kv.get(path, dc=dc, **_held(index))

    return Subject(ask=ask, read=_bytes, may_look=_refused_otherwise, interval=interval)


def keys(prefix: str) -> Subject:
    """The texts below a prefix, by the rest of their names."""
    start = prefix if prefix.endswith("/") else f"{prefix}/"

    def read(items: Any) -> dict[str, str]:
        return {item["Key"].removeprefix(start): _text(item) or "" for item in items or () if item["Key"] != start}

    async def may_look(client: Client, known: Any, content: dict[str, str]) -> bool:
        gone = () if known is UNKNOWN else known.keys() - content.keys()
        return not gone or await client.may_read_key(start + min(gone))

    return Subject(
        ask=lambda client, index: client.api.kv.get(start, recurse=True, **_held(index)),
        read=read,
        may_look=may_look,
    )


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


async def follow(
    subject: Subject,
    client: Client,
    changed: Callable[[Any], None],
    *,
    known: Any = UNKNOWN,
    refused: Callable[[str | None], None],
) -> None:
    """For as long as we live: `changed(content)` whenever it is another than was `known`; `refused(why)` when Consul
    will not let us look, `refused(None)` when it does again."""
    loop = asyncio.get_running_loop()
    index, failures, blind = 0, 0, False
    while True:
        asked_at, held = loop.time(), index > 0
        try:
            answered, found = await client.call(subject.ask(client, index), limit=HELD)
            with understood():
                content, answered = subject.read(found), int(answered)
            if not await subject.may_look(client, known, content):
                raise Refused("the token may not read it")
        except (Unreachable, Refused) as error:
            index, failures = 0, min(failures + 1, 10)
            if isinstance(error, Refused) and not blind and failures >= BLIND:
                blind = True
                refused(str(error))
            await client.rest(min(FIRST_RETRY * 2**failures, LAST_RETRY) * (0.5 + random.random()))
            continue
        if blind:
            blind = False
            refused(None)
        failures, index = 0, next_index(index, answered)
        if content != known:
            known = content
            changed(content)
        if held:
            await asyncio.sleep(max(0.0, asked_at + subject.interval - loop.time()))
