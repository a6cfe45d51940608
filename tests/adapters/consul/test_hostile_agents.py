"""Test that an agent which is none can neither have our token sent elsewhere nor use up our memory."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc

import pytest

from autopilot.adapters.consul.connection_settings import build_connection_settings
from autopilot.adapters.consul.consul_client import ConsulClient
from autopilot.adapters.consul.consul_errors import ConsulRefusedError
from autopilot.spec.plan import Consul
from tests.watchdog.hostile_servers import CannedServer, serve_answers


def ask(server: CannedServer) -> object:
    """Read a key with a token."""

    async def read() -> object:
        settings = build_connection_settings(Consul(address=server.address, acl_token="s3cret"), {})
        client = ConsulClient(settings)
        try:
            return await client.read_with_stale_fallback("/v1/kv/key")
        finally:
            client.close()

    return asyncio.run(read())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_token_follows_no_redirect(status: int) -> None:
    """A redirect is an error that names its target, and the target is not asked."""
    with serve_answers({"/": (200, {}, b"[]")}) as other:
        redirect = (status, {"Location": f"http://{other.address}/"}, b"")
        with serve_answers({"/key": redirect}) as agent:
            with pytest.raises(ConsulRefusedError, match=rf"redirects to 'http://{other.address}/', and the token"):
                ask(agent)
            assert agent.headers[0]["X-Consul-Token"] == "s3cret"
        assert other.requests == []


def test_small_answer_that_becomes_large() -> None:
    """Answers are not decompressed, nor asked for in that form."""
    bomb = gzip.compress(bytes(100 << 20))
    with serve_answers({"/key": (200, {"Content-Encoding": "gzip"}, bomb)}) as agent:
        tracemalloc.start()
        try:
            with pytest.raises(ConsulRefusedError):
                ask(agent)
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()
        assert "Accept-Encoding" not in agent.headers[0]
