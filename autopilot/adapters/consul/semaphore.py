"""Hold a permit of a limit that all hosts share, with Consul's recipe for a semaphore of sessions.

Each contender has a session and a key that lives as long as the session (`PREFIX/SESSION`). The list of holders is the
key `PREFIX/.lock`, changed only by check-and-set. A holder that dies no longer renews its session: Consul deletes its
key after at most twice the TTL, and the next contender takes its place. A holder follows the keys: it knows at once
that its session has ended, and after a TTL without a renewal that it may have ended unseen. Then it contends anew.
While Consul does not answer, an open lock is granted without it after a delay, a closed one waits.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from autopilot.adapters.consul.consul_client import ConsulClient
from autopilot.adapters.consul.consul_errors import ConsulRefusedError, ConsulUnreachableError
from autopilot.retry_delay import RetryDelay
from autopilot.spec.plan import Lock

KEY_PREFIX = "autopilot/locks/"
FAIL_OPEN_DELAY_S = 10.0  # without an answer for so long an open lock is granted without Consul
SESSION_RELEASE_TIMEOUT_S = 10.0  # for the end of the old session before a new one begins
RETRY_DELAY = RetryDelay(first_s=0.2, max_s=5.0)
RENEWALS_PER_TTL = 3
QUERY_MARGIN_S = 3.0  # Consul lengthens the wait of a query by up to a sixteenth


def parse_holders(lock_value: bytes | None) -> list[str]:
    """Return the sessions that hold a permit, from the value of the key `.lock`.

    Raises:
        ConsulRefusedError: The value is not readable; no permit may be granted then, since the limit may be reached.
    """
    if not lock_value:
        return []
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        holders = json.loads(lock_value)["holders"]
        if isinstance(holders, list) and all(isinstance(holder, str) for holder in holders):
            return holders
    raise ConsulRefusedError(
        f"cannot read the holders of the lock: {lock_value[:100]!r}; delete the key when no container holds the lock"
    )


def add_holder(
    current_holders: Iterable[str], live_sessions: Collection[str], own_session: str, limit: int
) -> list[str] | None:
    """Return the holders including `own_session`, without those whose session has ended; None at the limit."""
    holders = [holder for holder in current_holders if holder in live_sessions and holder != own_session]
    return [*holders, own_session] if len(holders) < limit else None


class Permit:
    """Request for a permit, and from its grant until `release` the permit itself."""

    def __init__(
        self,
        plan: Lock,
        client: ConsulClient,
        *,
        on_granted: Callable[[bool], None],
        on_held: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """Prepare a request.

        Args:
            plan: The lock.
            client: The client of the agent.
            on_granted: Called once; with True if Consul granted the permit, with False if the lock is open and
                Consul did not answer.
            on_held: Called each time that Consul has granted the permit.
            on_lost: Called with the reason each time that a permit of Consul is lost.
        """
        self._plan, self._client, self._on_granted = plan, client, on_granted
        self._on_held, self._on_lost = on_held, on_lost
        self._prefix = f"{KEY_PREFIX}{plan.name}/"
        self._session = ""
        self._granted_notified = False

    async def hold(self) -> None:
        """Acquire the permit and keep its session alive until cancelled; contend again after a loss."""
        loop = asyncio.get_running_loop()
        failing_since: float | None = None
        failures = 0
        while True:
            try:
                await self._acquire()
                failing_since, failures = None, 0
                self._on_held()
                self._notify_granted(True)
                self._on_lost(await self._keep_until_lost())
                failures = 1
            except (ConsulUnreachableError, ConsulRefusedError):
                failing_since = loop.time() if failing_since is None else failing_since
                failures += 1
            if failing_since is not None and loop.time() - failing_since >= FAIL_OPEN_DELAY_S and self._plan.fail_open:
                self._notify_granted(False)
            await asyncio.sleep(RETRY_DELAY.compute(failures, random.random()))

    async def release(self, timeout_s: float) -> None:
        """End the session, so that the next contender is granted at once and not after the session's TTL."""
        if self._session:
            with suppress(ConsulUnreachableError, ConsulRefusedError):
                await self._client.call(self._client.api.session.destroy(self._session), timeout_s=timeout_s)
            self._session = ""

    def _notify_granted(self, granted_by_consul: bool) -> None:
        if not self._granted_notified:
            self._granted_notified = True
            self._on_granted(granted_by_consul)

    # --- the recipe ---

    async def _acquire(self) -> None:
        """Begin a new session and return when it is among the holders."""
        api = self._client.api
        await self.release(SESSION_RELEASE_TIMEOUT_S)
        ttl = int(self._plan.ttl)
        create = api.session.create(name=f"autopilot {self._plan.name}", ttl=ttl, behavior="delete", lock_delay=0)
        self._session = await self._client.call(create)
        await self._client.call(api.kv.put(f"{self._prefix}{self._session}", "", acquire=self._session))
        blocking_params: dict[str, Any] = {}
        while True:
            index, items = await self._client.call(api.kv.get(self._prefix, recurse=True, **blocking_params))
            if await self._try_acquire(items or ()):
                return
            await self._renew_session()
            blocking_params = {"index": int(index), "wait": f"{int(self._plan.ttl / RENEWALS_PER_TTL)}s"}

    async def _try_acquire(self, items: Sequence[Mapping[str, Any]]) -> bool:
        """Return True if our session is written among the holders; `items` are all keys of the lock."""
        lock = next((item for item in items if item["Key"] == f"{self._prefix}.lock"), None)
        live_sessions = {item["Session"] for item in items if item.get("Session")}
        current_holders = parse_holders(lock["Value"] if lock is not None else None)
        holders = add_holder(current_holders, live_sessions, self._session, self._plan.limit)
        if holders is None:
            return False
        text = json.dumps({"limit": self._plan.limit, "holders": holders})
        cas = lock["ModifyIndex"] if lock is not None else 0
        written: bool = await self._client.call(self._client.api.kv.put(f"{self._prefix}.lock", text, cas=cas))
        return written

    async def _keep_until_lost(self) -> str:
        """Renew the session until the permit is lost, and return the reason."""
        loop, interval = asyncio.get_running_loop(), self._plan.ttl / RENEWALS_PER_TTL
        renewed_at, failures, problem = loop.time(), 0, ""
        blocking_params: dict[str, Any] = {}
        while True:
            remaining = renewed_at + self._plan.ttl - loop.time()
            if remaining <= 0:
                return f"Consul has not renewed it for its TTL of {self._plan.ttl:g} s: {problem}"
            try:
                query = self._client.api.kv.get(self._prefix, recurse=True, **blocking_params)
                index, items = await self._client.call(query, timeout_s=min(remaining, interval + QUERY_MARGIN_S))
                if not self._is_held(items or ()):
                    return "its session has ended in Consul, or its entry was removed"
                asked_at = loop.time()
                if asked_at >= renewed_at + interval / 2:
                    await self._renew_session()
                    renewed_at = asked_at
                failures, blocking_params = 0, {"index": int(index), "wait": f"{int(interval)}s"}
            except (ConsulUnreachableError, ConsulRefusedError) as error:  # the election of a leader is a refusal too
                failures, problem, blocking_params = failures + 1, str(error), {}
                await asyncio.sleep(min(max(0.0, remaining), RETRY_DELAY.compute(failures, random.random())))

    def _is_held(self, items: Sequence[Mapping[str, Any]]) -> bool:
        """Return True while our session lives and is written among the holders; `items` are all keys of the lock."""
        by_key = {item["Key"]: item for item in items}
        lock, own = by_key.get(f"{self._prefix}.lock"), by_key.get(f"{self._prefix}{self._session}")
        is_alive = own is not None and own.get("Session") == self._session
        return is_alive and self._session in parse_holders(lock["Value"] if lock is not None else None)

    async def _renew_session(self) -> None:
        await self._client.call(self._client.api.session.renew(self._session))
