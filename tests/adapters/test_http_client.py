"""The HTTP client, against servers that answer byte by byte as a test wants."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from autopilot.adapters.http_client import AnswerTooLargeError, HttpClient, Request, Server, connect

REQUEST = Request("GET", "/", {"Host": "here"})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


class Scripted:
    """Server whose connections each give their own list of answers, one for a request, and then close or wait."""

    def __init__(self, *connections: list[bytes], stays: bool = True) -> None:
        self.connections, self.stays = list(connections), stays
        self.accepted = 0
        self.requests: list[bytes] = []
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        answers = self.connections[self.accepted]
        self.accepted += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # of a client that closes early
            for answer in answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                writer.write(answer)
                await writer.drain()
            if self.stays:
                await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.closed.set()


@asynccontextmanager
async def run_client(scripted: Scripted, limit: int = 1000) -> AsyncIterator[HttpClient]:
    """Run a server, and a client of it."""
    server = await asyncio.start_server(scripted.serve, "127.0.0.1")
    client = HttpClient(Server("127.0.0.1", server.sockets[0].getsockname()[1]), max_answer_bytes=limit)
    try:
        yield client
    finally:
        client.close()
        server.close()
        if scripted.accepted:
            await asyncio.wait_for(scripted.closed.wait(), 60)


@pytest.mark.parametrize(
    ("answer", "body"),
    [(OK, b"ok"), (CLOSE, b"to the end"), (CHUNKED, b"abcde"), (OK.replace(b"2\r", b"0\r")[:-2], b"")],
)
async def test_bodies(answer: bytes, body: bytes) -> None:
    """A body ends by its length, by its chunks or with the connection."""
    async with run_client(Scripted([answer], stays=answer != CLOSE)) as client:
        found = await client.request(REQUEST)
        assert (found.status, found.body) == (200, body)


async def test_a_connection_is_used_again() -> None:
    """Requests one after the other share a connection; at the same time each has its own."""
    scripted = Scripted([OK] * 3, [OK])
    async with run_client(scripted) as client:
        await client.request(REQUEST)
        await client.request(Request("PUT", "/v1/kv/a", {"Host": "here", "X-Consul-Token": "secret"}, b"value"))
        assert scripted.accepted == 1
        assert b"x-consul-token: secret" in scripted.requests[1].lower() and scripted.requests[1].endswith(
            b"\r\n\r\nvalue"
        )
        await asyncio.gather(client.request(REQUEST), client.request(REQUEST))
        assert scripted.accepted == 2


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    """A server may close a connection at any time between two requests: the second one is sent on a new one."""
    scripted = Scripted([OK], [OK], stays=False)
    async with run_client(scripted) as client:
        await client.request(REQUEST)
        await scripted.closed.wait()
        assert (await client.request(REQUEST)).body == b"ok"
        assert scripted.accepted == 2


async def test_a_server_that_closes_new_connections_is_not_asked_for_ever() -> None:
    """A server that closes a new connection without an answer cannot be reached."""
    scripted = Scripted([], stays=False)
    async with run_client(scripted) as client:
        with pytest.raises(ConnectionResetError):
            await client.request(REQUEST)
        assert scripted.accepted == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 40_000,
        b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 100_000,
    ],
    ids=["length", "chunks", "interim answers", "no end"],
)
async def test_too_large_answers(answer: bytes) -> None:
    """An answer larger than the limit is an error, in whatever way it is large, and its connection is closed."""
    scripted = Scripted([answer])
    async with run_client(scripted) as client:
        with pytest.raises(AnswerTooLargeError, match="larger than 1000 bytes"):
            await client.request(REQUEST)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"\0" * 100,
    ],
    ids=["not HTTP", "endless header", "too short", "no number", "zeros"],
)
async def test_wrong_answers(answer: bytes) -> None:
    """An answer that is not whole HTTP is an error of the connection."""
    async with run_client(Scripted([answer], stays=False)) as client:
        with pytest.raises(OSError):
            await client.request(REQUEST)


async def test_a_caller_that_gives_up_leaves_no_connection_behind() -> None:
    """The answer to a request that was given up does not come as the answer to the next one."""
    scripted = Scripted([b""], [OK])
    async with run_client(scripted) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.request(REQUEST)
        assert (await client.request(REQUEST)).body == b"ok"
        assert scripted.accepted == 2


async def test_bytes_that_nobody_asked_for_are_no_answer() -> None:
    """A connection on which something came while it was idle, such as a 408, is not used again."""
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    scripted = Scripted([OK + late], [OK])
    async with run_client(scripted) as client:
        await client.request(REQUEST)
        assert (await client.request(REQUEST)).status == 200
        assert scripted.accepted == 2


async def test_a_reset_while_idle_is_replaced() -> None:
    """A connection that the server resets as the next request comes is replaced by another one."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        if not resets:
            resets.append(True)
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
        else:
            writer.close()

    resets: list[bool] = []
    server = await asyncio.start_server(reset, "127.0.0.1")
    client = HttpClient(Server("127.0.0.1", server.sockets[0].getsockname()[1]), max_answer_bytes=10)
    for _ in range(2):
        assert (await client.request(REQUEST)).body == b"ok"
    client.close()
    server.close()


async def test_no_error_shows_a_token() -> None:
    """A header that HTTP cannot carry is an error without its value, which may be a token."""
    for token in ("secret\rX", "secret\nY: z", "secret\u20ac", "secret\0"):
        async with run_client(Scripted([OK])) as client:
            with pytest.raises(ConnectionError) as error:
                await client.request(Request("GET", "/", {"Host": "here", "X-Consul-Token": token}))
            assert "secret" not in str(error.value)


async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two addresses of a name the second one is used when the first one does not answer."""
    scripted = Scripted([OK])
    async with run_client(scripted) as client:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))  # it accepts nothing: a connection is refused or waits
            addresses = [silent.getsockname(), ("127.0.0.1", client.server.port)]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
            loop = asyncio.get_running_loop()

            async def resolve(*_: object, **__: object) -> object:
                return found

            monkeypatch.setattr(loop, "getaddrinfo", resolve)
            named = HttpClient(Server("name", 80), max_answer_bytes=10)
            assert (await named.request(REQUEST)).body == b"ok"
            named.close()


async def test_the_begin_of_a_large_body() -> None:
    """A caller that wants only the begin of a body gets it, without waiting for the rest."""
    scripted = Scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50])
    async with run_client(scripted) as client:
        connection = await connect(client.server)
        found = await connection.exchange(REQUEST, max_bytes=10, truncate=True)
        assert found.body == b"x" * 10
        assert not connection.prepare_next()
        connection.close()


async def test_a_unix_socket(tmp_path) -> None:
    """A server is reached through its unix socket."""
    scripted = Scripted([OK])
    server = await asyncio.start_unix_server(scripted.serve, tmp_path / "socket")
    client = HttpClient(Server("here", 80, socket_path=str(tmp_path / "socket")), max_answer_bytes=10)
    assert (await client.request(REQUEST)).body == b"ok"
    client.close()
    server.close()
    await scripted.closed.wait()
