"""Follow Consul's contents with blocking queries, which Consul answers once something changes.

A change is seen as soon as Consul answers. A burst of changes is merged: queries that follow each other for longer are
limited to MAX_LOOKS_PER_S. A service that does not exist gets an answer at every change of the catalogue, and is
limited in the same way. `interval` is the period of the fallback: a Consul that does not block (an old one, or a proxy
before it) is polled at it. An answer does not prove a change, so contents are compared. After any error the last known
content stays. Consul answers a token without permission as if there were nothing, without an error: when something
disappears, the permission is checked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.adapters.consul.consul_client import (
    BLOCKING_QUERY_TIMEOUT_S,
    BLOCKING_WAIT_S,
    ConsulClient,
    compute_next_index,
)
from autopilot.adapters.consul.consul_errors import ConsulRefusedError, ConsulUnreachableError, reject_malformed_answers
from autopilot.retry_delay import RetryDelay

RETRY_DELAY = RetryDelay(first_s=0.2, max_s=10.0)
MAX_LOOKS_PER_S = 5.0  # queries that go on for longer; as many may follow each other at once
UNBLOCKED_ANSWERS = 5  # so many in a row prove a Consul that does not block: a single one has also other causes
FAILURES_BEFORE_REPORT = 5  # failures in a row, some 3 s: the election of a leader takes less
NOT_READ_YET = object()  # the known content before the first answer


@dataclass(frozen=True, slots=True)
class Instance:
    """The fields of a service instance that matter to its users."""

    node: str
    id: str
    address: str
    port: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A blocking query and the reading of its answer.

    Attributes:
        request: Makes the request for an index; 0 asks for an answer at once.
        parse: Turns the answer into a content that can be compared.
        can_still_read: Tells from the known and the new content if the token may still read everything that is
            missing in the new one.
        interval: Seconds between the beginnings of two queries to a Consul that does not block.
    """

    request: Callable[[ConsulClient, int], Any]
    parse: Callable[[Any], Any]
    can_still_read: Callable[[ConsulClient, Any, Any], Awaitable[bool]]
    interval: float = 1.0


def build_service_query(name: str, *, tag: str | None = None, dc: str | None = None, interval: float = 1.0) -> Query:
    """Return the query for the healthy instances of a service, as a sorted tuple of Instance."""

    def request(client: ConsulClient, index: int) -> Any:
        return client.api.health.service(name, tag=tag, dc=dc, **_build_blocking_params(index))

    async def can_still_read(client: ConsulClient, known: Any, content: tuple[Instance, ...]) -> bool:
        if known is NOT_READ_YET:
            return bool(content) or await client.may_read_service(name, (), dc)
        missing = {(i.node, i.id) for i in known} - {(i.node, i.id) for i in content}
        return not missing or await client.may_read_service(name, sorted({node for node, _ in missing}), dc)

    return Query(request=request, parse=parse_healthy_instances, can_still_read=can_still_read, interval=interval)


def build_key_text_query(path: str) -> Query:
    """Return the query for the text of a key; its content is None if the key does not exist."""
    return Query(
        request=lambda client, index: client.api.kv.get(path, **_build_blocking_params(index)),
        parse=_get_value_text,
        can_still_read=_can_always_read,
    )


async def _can_always_read(*_: object) -> bool:
    """Return True: Consul refuses to read a single key without permission, it does not hide it."""
    return True


def build_key_bytes_query(path: str, *, dc: str | None = None, interval: float = 1.0) -> Query:
    """Return the query for the bytes of a key; its content is None if the key does not exist."""

    def request(client: ConsulClient, index: int) -> Any:
        return client.api.kv.get(path, dc=dc, **_build_blocking_params(index))

    return Query(request=request, parse=_get_value_bytes, can_still_read=_can_always_read, interval=interval)


def build_prefix_query(prefix: str) -> Query:
    """Return the query for all texts below a prefix; its content maps the rest of each key's path to its text."""
    start = prefix if prefix.endswith("/") else f"{prefix}/"

    def parse(items: Any) -> dict[str, str]:
        return {
            item["Key"].removeprefix(start): _get_value_text(item) or "" for item in items or () if item["Key"] != start
        }

    async def can_still_read(client: ConsulClient, known: Any, content: dict[str, str]) -> bool:
        missing = () if known is NOT_READ_YET else known.keys() - content.keys()
        return not missing or await client.may_read_key(start + min(missing))

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
    """Return the instances with only passing checks from an answer of GET /v1/health/service/NAME."""
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


def build_refusal_handler(
    conditions: ConditionReporter, condition: str, resource_type: Literal["key", "keys", "service"], name: str
) -> Callable[[str | None], None]:
    """Return the `on_refused` of a query that raises and clears a condition.

    Args:
        conditions: The conditions of the adapter.
        condition: The kind of the condition.
        resource_type: The kind of content that the query reads.
        name: The service, the key or the prefix.
    """

    def on_refused(reason: str | None) -> None:
        if reason is None:
            conditions.clear_condition(condition)
            return
        rule = "key_prefix" if resource_type == "keys" else resource_type
        problem = f"Consul refuses to show the {resource_type} {name}: {reason}; the last known state stays"
        conditions.raise_condition(condition, f'{problem}; allow its token {rule} "{name}" (read)')

    return on_refused


class LookLimiter:
    """Limits a query to MAX_LOOKS_PER_S, but lets a change after a quieter second pass at once."""

    def __init__(self, now: float) -> None:
        self._remaining, self._updated_at = MAX_LOOKS_PER_S, now

    def reserve_look(self, now: float) -> float:
        """Return the seconds to wait before the next query, which the caller makes then."""
        refill = (now - self._updated_at) * MAX_LOOKS_PER_S
        self._remaining = min(MAX_LOOKS_PER_S, self._remaining + refill) - 1
        self._updated_at = now
        return max(0.0, -self._remaining / MAX_LOOKS_PER_S)


def has_blocked(index: int, new_index: int, duration_s: float) -> bool:
    """Return False if Consul answered `index` at once though nothing had changed."""
    return new_index > 0 and (new_index != index or duration_s >= BLOCKING_WAIT_S / 2)


async def run_blocking_query(
    query: Query,
    client: ConsulClient,
    on_change: Callable[[Any], None],
    *,
    known: Any = NOT_READ_YET,
    on_refused: Callable[[str | None], None],
) -> None:
    """Follow a query until cancelled.

    Args:
        query: The query to repeat.
        client: The client of the agent to ask.
        on_change: Called with each content that differs from the one before.
        known: The content that the caller assumes at the beginning.
        on_refused: Called with the reason when Consul refuses the query for some seconds, and with None when it
            answers again.
    """
    loop = asyncio.get_running_loop()
    limiter = LookLimiter(loop.time())
    index, failures, unblocked, refusal_reported = 0, 0, 0, False
    while True:
        began_at = loop.time()
        try:
            new_index, answer = await client.call(query.request(client, index), timeout_s=BLOCKING_QUERY_TIMEOUT_S)
            with reject_malformed_answers():
                content, new_index = query.parse(answer), int(new_index)
            if not await query.can_still_read(client, known, content):
                raise ConsulRefusedError("the token may not read it")
        except (ConsulUnreachableError, ConsulRefusedError) as error:
            index, failures = 0, failures + 1
            if isinstance(error, ConsulRefusedError) and not refusal_reported and failures >= FAILURES_BEFORE_REPORT:
                refusal_reported = True
                on_refused(str(error))
            await client.wait_until_reachable(RETRY_DELAY.compute(failures, random.random()))
            continue
        if refusal_reported:
            refusal_reported = False
            on_refused(None)
        unblocked = 0 if has_blocked(index, new_index, loop.time() - began_at) else unblocked + 1
        failures, index = 0, compute_next_index(index, new_index)
        if content != known:
            known, unblocked = content, 0
            on_change(content)
        next_look_in = limiter.reserve_look(loop.time())
        if unblocked >= UNBLOCKED_ANSWERS:
            next_look_in = max(next_look_in, began_at + query.interval - loop.time())
        await asyncio.sleep(next_look_in)
