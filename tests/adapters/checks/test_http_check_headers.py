"""The HTTP check sends every header that a job spec may hold."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from autopilot.adapters.checks import http_check


async def probe_once(url: str, headers: dict[str, str]) -> tuple[bool, str, bytes]:
    """Probe a server at `url`, whose PORT is filled in; return the check's result and the request."""
    received = asyncio.get_running_loop().create_future()

    async def answer(reader, writer):
        received.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = http_check.HttpProbe(url=url.replace("PORT", str(port)), status=(200, 299), headers=headers)
        no_context: Any = None  # an HTTP check uses none
        is_good, output = await http_check.run(probe, no_context)
    return is_good, output, await received


async def test_header_in_latin1():
    """A header with a letter beyond ASCII arrives in Latin-1, without blanks at its end."""
    is_good, output, request = await probe_once("http://127.0.0.1:PORT/", {"X-Name": "\u00e9 "})
    assert is_good, output
    assert b"X-Name: \xe9\r\n" in request


@pytest.mark.parametrize("name", ["Host", "host", "HOST", "user-agent", "connection"])
async def test_a_header_of_the_job_spec_takes_the_place_of_ours(name):
    """A header in any case replaces ours of the same name: it is sent once."""
    is_good, output, request = await probe_once("http://127.0.0.1:PORT/", {name: "example"})
    assert is_good, output
    lines = [line for line in request.decode().lower().split("\r\n") if line.startswith(f"{name.lower()}:")]
    assert lines == [f"{name.lower()}: example"]


async def test_user_and_password_of_a_url():
    """User and password in a URL are sent, and no output shows them."""
    is_good, output, request = await probe_once("http://me:s%40cret@127.0.0.1:PORT/path", {})
    assert is_good and "cret" not in output and "/path: 204" in output, output
    assert b"Authorization: Basic " + base64.b64encode(b"me:s@cret") in request
