"""The HTTP check sends every header that a job spec may hold."""

from __future__ import annotations

import asyncio
from typing import Any

from autopilot.adapters.checks import http_check


async def test_header_in_latin1():
    """A header with a letter beyond ASCII arrives in Latin-1, without blanks at its end."""
    received = asyncio.get_running_loop().create_future()

    async def answer(reader, writer):
        received.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = http_check.HttpProbe(url=f"http://127.0.0.1:{port}/", status=(200, 299), headers={"X-Name": "\u00e9 "})
        no_context: Any = None  # an HTTP check uses none
        is_good, output = await http_check.run(probe, no_context)
    assert is_good, output
    assert b"X-Name: \xe9\r\n" in await received
