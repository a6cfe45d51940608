"""Show a life that has no port in Consul's KV store, because a service there would have port 0.

Theory of operation. Configurations that are generated from the catalogue break at port 0, so a supervisor without a
telemetry port is no service. Its entry is a key with the metadata that the service would have. The key belongs to a
session, which is renewed while the life goes on: Consul deletes the key of a life that was killed after at most twice
the session's TTL. After any failure a new session begins, with a key of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from autopilot.adapters.consul.consul_errors import ConsulRefusedError, ConsulUnreachableError
from autopilot.retry_delay import RetryDelay

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient

KEY_PREFIX = "autopilot/fleet/"
SESSION_TTL_S = 30
RENEWAL_INTERVAL_S = SESSION_TTL_S / 3
MIN_WRITE_INTERVAL_S = 0.5  # payloads that begin and end in a row are one write
RETRY_DELAY = RetryDelay(first_s=0.5, max_s=30.0)


class FleetEntry:
    """The entry of this life; made inside a running event loop."""

    def __init__(self, life_id: str) -> None:
        self._life_id = life_id
        self._wanted_text = ""
        self._written_text = ""
        self._session = ""
        self._changed = asyncio.Event()
        self._client: ConsulClient | None = None

    def set_record(self, record: Mapping[str, str] | None) -> None:
        """Set the content of the entry; None: there is no entry."""
        text = "" if record is None else json.dumps(record)
        if text != self._wanted_text:
            self._wanted_text = text
            self._changed.set()

    async def follow(
        self, client: ConsulClient, *, on_result: Callable[[str], None], on_lost: Callable[[str], None]
    ) -> None:
        """Keep the entry as it is wanted, until cancelled.

        Args:
            client: The client of the agent.
            on_result: Called with the reason when Consul refuses the entry, and with "" when it accepts it.
            on_lost: Called with the reason when the agent cannot be reached.
        """
        self._client, failures = client, 0
        while True:
            self._changed.clear()
            try:
                await self._synchronize(client)
                failures = 0
                on_result("")
            except (ConsulUnreachableError, ConsulRefusedError) as error:
                failures += 1
                self._session = ""
                if isinstance(error, ConsulUnreachableError):
                    on_lost(str(error))
                elif failures > 1:  # the first may be the end of a session, or an election
                    on_result(str(error))
                await client.wait_until_reachable(RETRY_DELAY.compute(failures, random.random()))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEWAL_INTERVAL_S if self._session else None):
                    await self._changed.wait()
            await asyncio.sleep(MIN_WRITE_INTERVAL_S)

    async def remove(self, timeout_s: float) -> None:
        """Remove the entry, if that succeeds within the time limit."""
        self.set_record(None)
        if self._client is not None:
            with suppress(ConsulUnreachableError, ConsulRefusedError):
                await self._end_session(self._client, timeout_s)

    async def _synchronize(self, client: ConsulClient) -> None:
        """Renew the session, or begin one, and write the record if it differs; end the session if none is wanted."""
        api, text = client.api, self._wanted_text
        if not text:
            await self._end_session(client)
            return
        if self._session:
            await client.call(api.session.renew(self._session))
        else:
            create = api.session.create(name="autopilot fleet", ttl=SESSION_TTL_S, behavior="delete", lock_delay=0)
            self._session, self._written_text = await client.call(create), ""
        if text != self._written_text:
            key = f"{KEY_PREFIX}{self._life_id}/{self._session}"
            if not await client.call(api.kv.put(key, text, acquire=self._session)):
                raise ConsulRefusedError(f"the key {key} is held by another session")
            self._written_text = text

    async def _end_session(self, client: ConsulClient, timeout_s: float | None = None) -> None:
        session, self._session = self._session, ""
        if session:
            request = client.api.session.destroy(session)
            await (client.call(request, timeout_s=timeout_s) if timeout_s else client.call(request))
