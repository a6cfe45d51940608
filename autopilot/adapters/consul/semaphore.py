"""A permit of which only so many exist at once among all hosts: Consul's semaphore of sessions.

Each contender has a session and a key that lives as long as it (`PREFIX/SESSION`); who holds is written in
`PREFIX/.lock`, which changes only by check-and-set. A holder that dies stops renewing its session: Consul deletes its
key after at most twice the TTL, and the next contender takes its place. Where Consul does not answer, an open lock is
granted without it, a closed one waits.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from autopilot.adapters.consul.consul_client import ConsulClient, ConsulRefusedError, ConsulUnreachableError
from autopilot.spec.plan import Lock

KEY_PREFIX = "autopilot/locks/"
FAIL_OPEN_DELAY_S = 10.0  # s without an answer, until an open lock is granted all the same
FIRST_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 0.1, 5.0  # s
RENEWALS_PER_TTL = 3  # in one TTL


def parse_holders(lock_value: bytes | None) -> list[str]:
    """Who holds, as `.lock` says. Raises Refused when nobody can read it: nobody is let in then, for as many as may
    hold already."""
    if not lock_value:
        return []
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        holders = json.loads(lock_value)["holders"]
        if isinstance(holders, list) and all(isinstance(holder, str) for holder in holders):
            return holders
    raise ConsulRefusedError(f"cannot read who holds the lock: {lock_value[:100]!r}; delete the key when nobody does")


def add_holder(
    current_holders: Iterable[str], live_sessions: Collection[str], own_session: str, limit: int
) -> list[str] | None:
    """The holders with me among them, None while there is no room. Holders without a live session are none."""
    holders = [holder for holder in current_holders if holder in live_sessions and holder != own_session]
    return [*holders, own_session] if len(holders) < limit else None


class Permit:
    """One wish for a permit, held from when it is granted until `release`."""

    def __init__(self, plan: Lock, client: ConsulClient, *, on_granted: Callable[[bool], None]) -> None:
        """`granted(known)` is called once; `known` False: without Consul, because the lock is open."""
        self._plan, self._client, self._on_granted = plan, client, on_granted
        self._prefix = f"{KEY_PREFIX}{plan.name}/"
        self._session = ""
        self._granted_notified = False

    async def hold(self) -> None:
        """Until cancelled: contend, be granted, and keep the session alive; lost, contend anew."""
        loop = asyncio.get_running_loop()
        failing_since: float | None = None
        failures = 0
        while True:
            try:
                await self._acquire()
                failing_since, failures = None, 0
                self._notify_granted(True)
                await self._keep_alive()
            except (ConsulUnreachableError, ConsulRefusedError):
                failing_since = loop.time() if failing_since is None else failing_since
                failures = min(failures + 1, 10)
            if failing_since is not None and loop.time() - failing_since >= FAIL_OPEN_DELAY_S and self._plan.fail_open:
                self._notify_granted(False)
            await asyncio.sleep(min(FIRST_RETRY_DELAY_S * 2**failures, MAX_RETRY_DELAY_S) * (0.5 + random.random()))

    async def release(self, timeout_s: float) -> None:
        """Let the next one in at once; without it Consul does when the session ends."""
        if self._session:
            with suppress(ConsulUnreachableError, ConsulRefusedError):
                await self._client.call(self._client.api.session.destroy(self._session), timeout_s=timeout_s)
            self._session = ""

    def _notify_granted(self, known: bool) -> None:
        if not self._granted_notified:
            self._granted_notified = True
            self._on_granted(known)

    # --- the recipe ---

    async def _acquire(self) -> None:
        """Returns when the permit is ours."""
        api = self._client.api
        await self.release(FAIL_OPEN_DELAY_S)
        ttl = int(self._plan.ttl)
        create = api.session.create(name=f"autopilot {self._plan.name}", ttl=ttl, behavior="delete", lock_delay=0)
        self._session = await self._client.call(create)
        await self._client.call(api.kv.put(f"{self._prefix}{self._session}", "", acquire=self._session))
        held: dict[str, Any] = {}
        while True:
            answered, items = await self._client.call(api.kv.get(self._prefix, recurse=True, **held))
            if await self._try_acquire(items or ()):
                return
            await self._renew_session()
            held = {"index": int(answered), "wait": f"{int(self._plan.ttl / RENEWALS_PER_TTL)}s"}

    async def _try_acquire(self, items: Sequence[Mapping[str, Any]]) -> bool:
        lock = next((item for item in items if item["Key"] == f"{self._prefix}.lock"), None)
        alive = {item["Session"] for item in items if item.get("Session")}
        holders = add_holder(
            parse_holders(lock["Value"] if lock is not None else None), alive, self._session, self._plan.limit
        )
        if holders is None:
            return False
        text = json.dumps({"limit": self._plan.limit, "holders": holders})
        cas = lock["ModifyIndex"] if lock is not None else 0
        taken: bool = await self._client.call(self._client.api.kv.put(f"{self._prefix}.lock", text, cas=cas))
        return taken

    async def _keep_alive(self) -> None:
        """Raises Unreachable, Refused when the session is lost."""
        while True:
            await asyncio.sleep(self._plan.ttl / RENEWALS_PER_TTL)
            await self._renew_session()

    async def _renew_session(self) -> None:
        await self._client.call(self._client.api.session.renew(self._session))
