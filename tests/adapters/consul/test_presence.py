"""What rests because Consul was away goes on when it is back."""

from __future__ import annotations

import asyncio
import time

from autopilot.adapters.consul.access import Access
from autopilot.adapters.consul.client import Client


async def test_rest_ends_with_the_return():
    """Whoever rests wakes up at once when Consul answers again; who begins to rest after that does not."""
    client = Client(Access("http://127.0.0.1:1"))
    began = time.monotonic()
    resting = [asyncio.ensure_future(client.rest(60.0)) for _ in range(3)]
    await asyncio.sleep(0)
    client.answers_again()
    await asyncio.wait_for(asyncio.gather(*resting), timeout=5.0)
    assert time.monotonic() - began < 5.0
    late = asyncio.ensure_future(client.rest(60.0))
    await asyncio.sleep(0.01)
    assert not late.done()
    late.cancel()
    await client.close()
