"""Tasks that wait for Consul continue at its return."""

from __future__ import annotations

import asyncio

from autopilot.adapters.consul.connection_settings import ConnectionSettings
from autopilot.adapters.consul.consul_client import ConsulClient


async def test_rest_ends_with_the_return():
    """Tasks that wait continue at once when Consul answers again; a task that begins to wait later does not."""
    client = ConsulClient(ConnectionSettings("http://127.0.0.1:1"))
    resting = [asyncio.ensure_future(client.wait_until_reachable(60.0)) for _ in range(3)]
    await asyncio.sleep(0)
    client.notify_reachable()
    await asyncio.wait_for(asyncio.gather(*resting), timeout=30.0)
    late = asyncio.ensure_future(client.wait_until_reachable(60.0))
    await asyncio.sleep(0.01)
    assert not late.done()
    late.cancel()
    client.close()
