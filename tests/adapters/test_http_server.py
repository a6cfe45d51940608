"""Clients that ask and do not read: they cost nobody an answer, and leave no connection behind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from autopilot.adapters import http_server
from autopilot.adapters.http_server import Page, Response, Stream

LARGE = b"x" * (4 << 20)  # more than the kernel keeps for a socket
LIMIT_S = 60.0
REQUEST = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


async def generate_parts() -> AsyncGenerator[bytes, None]:
    """Yield large parts for ever."""
    while True:
        yield LARGE


async def answer(_method: str, path: str, _body: Mapping[str, object]) -> Response:
    """Answer with a large page, or a stream that gives up a client after 0.2 s."""
    if path == "/stream":
        return 200, Stream("text/event-stream", generate_parts(), write_timeout_s=0.2)
    return 200, Page("text/plain", LARGE if path == "/large" else b"small")


def run_served(place: Path, test: Callable[[str], Awaitable[None]]) -> None:
    """Run a test beside a server on a unix socket."""

    async def serve() -> None:
        path = str(place / "socket")
        server = await asyncio.start_unix_server(http_server.build_client_handler(answer), path)
        async with asyncio.timeout(LIMIT_S), server:
            await test(path)

    asyncio.run(serve())


def ask(stack: ExitStack, path: str, target: bytes) -> socket.socket:
    """Send a request and read nothing."""
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(path)
    client.sendall(REQUEST % target)
    return client


async def read_answer(path: str, target: bytes) -> bytes:
    """Send a request and read the whole answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(REQUEST % target)
    text = await reader.read()
    writer.close()
    return text


def count_sockets(path: str) -> int:
    """Return the number of ends of connections to this socket that the server has open."""
    lines = Path("/proc/self/net/unix").read_text().splitlines()
    mine = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if is_link(fd)}
    return sum(line.endswith(path) and f"socket:[{line.split()[6]}]" in mine for line in lines)


def is_link(descriptor: str) -> bool:
    """Return True while a descriptor of ours is open."""
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


@pytest.mark.parametrize("target", [b"/large", b"/stream"])
def test_no_connection_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: bytes) -> None:
    """A client that does not read is disconnected after its time, with all that it would not take."""
    monkeypatch.setattr(http_server, "CLIENT_TIMEOUT_S", 0.2)

    async def test(path: str) -> None:
        listening = count_sockets(path)
        with ExitStack() as stack:
            for _ in range(20):
                ask(stack, path, target)
            while count_sockets(path) == listening:  # the first one is accepted
                await asyncio.sleep(0.01)
            while count_sockets(path) > listening:
                await asyncio.sleep(0.01)

    run_served(tmp_path, test)


def test_others_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the client is disconnected that has not read its answer for the longest time."""
    monkeypatch.setattr(http_server, "CLIENT_TIMEOUT_S", 10 * LIMIT_S)
    monkeypatch.setattr(http_server, "MAX_CLIENTS", 4)

    async def test(path: str) -> None:
        with ExitStack() as stack:
            for _ in range(20):
                ask(stack, path, b"/large")
                await asyncio.sleep(0)
            assert (await read_answer(path, b"/small")).endswith(b"small")
            assert (await read_answer(path, b"/large")).endswith(LARGE)

    run_served(tmp_path, test)
