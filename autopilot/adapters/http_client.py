"""Send HTTP/1.1 requests over TCP, TLS or a unix socket, and read bounded answers. h11 knows the protocol.

aiohttp would do it too, for 13 MB and 0.2 s of CPU time in every container (docs/decisions/0007-http-client.md).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, SupportsIndex

import h11

from autopilot.errors import AutopilotError

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 60.0  # of a connection that is kept for the next request
NEXT_ADDRESS_DELAY_S = 0.25  # RFC 8305
READ_BYTES = 1 << 16
EVENTS_IN_A_ROW = 500  # of one answer, until others have a turn: chunks may have one byte each
MAX_HEAD_BYTES = 1 << 16  # of an answer's status line and headers, and of everything else around its body


@dataclass(frozen=True, slots=True)
class Server:
    """Address of a server, and the way to it.

    Attributes:
        host: Name or address; the `Host` of every request has it and the port.
        port: TCP port.
        ssl_context: For https.
        server_name: Name in the server's certificate; None for `host`.
        socket_path: Unix socket that is used in place of host and port; "" for none.
    """

    host: str
    port: int
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str | None = None
    socket_path: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `target` is path and query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; the names of its headers are written `Like-This`."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AnswerTooLargeError(AutopilotError, OSError):
    """An answer has more bytes than the caller wants to read."""


class _ClosedBeforeAnswerError(AutopilotError, ConnectionResetError):
    """The server closed the connection before the first byte of its answer: it had been idle for too long."""


class _CountingReader(asyncio.StreamReader):
    """Stream that counts its bytes: those that nobody has asked for are no answer."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = 0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take bytes from the connection."""
        assert isinstance(data, bytes), "asyncio's connections give bytes"
        self.arrived += len(data)
        super().feed_data(data)


class HttpConnection:
    """One connection, with one request at a time."""

    def __init__(self, reader: _CountingReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._received = 0  # bytes of all answers so far
        self.idle_since = 0.0  # the event loop's time

    async def exchange(self, request: Request, *, max_bytes: int, truncate: bool = False) -> Answer:
        """Send a request and return its answer.

        Args:
            request: The request.
            max_bytes: The most bytes of a body that are read.
            truncate: Return the begin of a larger body; without it a larger body is an error.

        Raises:
            AnswerTooLargeError: The answer is larger than `max_bytes`.
            OSError: The connection failed, or the answer is not HTTP.
        """
        try:
            message = self._encode(request)
        except (h11.LocalProtocolError, UnicodeError):  # whose text has the value, such as a token
            raise ConnectionError("HTTP cannot carry a header or the address of this request") from None
        try:
            self._writer.write(message)
            await self._writer.drain()
            return await self._read_answer(max_bytes, truncate)
        except h11.ProtocolError as error:
            raise ConnectionError(str(error)) from None

    def _encode(self, request: Request) -> bytes:
        headers = [(name.encode(), text.strip(" \t").encode("latin-1")) for name, text in request.headers.items()]
        if request.body:
            headers.append((b"Content-Length", str(len(request.body)).encode()))
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        parts = [self._http.send(part) or b"" for part in (head, h11.Data(data=request.body), h11.EndOfMessage())]
        return b"".join(parts)

    async def _read_answer(self, max_bytes: int, truncate: bool) -> Answer:
        status, headers, parts, size, before, count = 0, {}, [], 0, self._received, 0
        while True:
            event = self._http.next_event()
            count += 1
            if count % EVENTS_IN_A_ROW == 0:
                await asyncio.sleep(0)
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._read(is_first=self._received == before))
                if self._received - before > 2 * max_bytes + MAX_HEAD_BYTES:  # tiny chunks, or endless interim answers
                    raise AnswerTooLargeError(f"the answer is larger than {max_bytes} bytes")
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode("latin-1").title(): text.decode("latin-1") for name, text in event.headers}
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                size += len(event.data)
                if size >= max_bytes and truncate:
                    break
                if size > max_bytes:
                    raise AnswerTooLargeError(f"the answer is larger than {max_bytes} bytes")
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
        return Answer(status, headers, b"".join(parts)[:max_bytes])

    async def _read(self, *, is_first: bool) -> bytes:
        """Return the next bytes of the answer, empty at its end."""
        try:
            data = await self._reader.read(READ_BYTES)
        except ConnectionError as error:
            if not is_first:
                raise
            raise _ClosedBeforeAnswerError(error.errno, error.strerror) from None
        if is_first and not data:
            raise _ClosedBeforeAnswerError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        self._received += len(data)
        return data

    def prepare_next(self) -> bool:
        """Return True if the connection takes another request."""
        if (self._http.our_state, self._http.their_state) != (h11.DONE, h11.DONE) or self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        self.idle_since = asyncio.get_running_loop().time()
        return self.is_quiet()

    def is_quiet(self) -> bool:
        """Return True if both sides have left the connection open, and nothing came that was not asked for."""
        is_open = self._reader.exception() is None and not self._reader.at_eof() and not self._writer.is_closing()
        return is_open and self._reader.arrived == self._received

    def close(self) -> None:
        """Close the connection, without waiting for the server."""
        transport = self._writer.transport
        if transport.get_write_buffer_size():
            transport.abort()  # a server that reads nothing would keep the request, and us, for ever
        else:
            transport.close()


async def connect(server: Server) -> HttpConnection:
    """Connect to a server: of several addresses the next one is tried when one does not answer soon.

    Raises:
        OSError: It cannot be reached within CONNECT_TIMEOUT_S seconds, or its certificate is not accepted.
    """
    loop = asyncio.get_running_loop()
    reader = _CountingReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport: asyncio.Transport
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if server.socket_path:
                transport, _ = await loop.create_unix_connection(lambda: protocol, server.socket_path)
            else:
                name = (server.server_name or server.host) if server.ssl_context is not None else None
                transport, _ = await loop.create_connection(
                    lambda: protocol, server.host, server.port, ssl=server.ssl_context, server_hostname=name,
                    happy_eyeballs_delay=NEXT_ADDRESS_DELAY_S,
                )  # fmt: skip
    except TimeoutError:
        raise ConnectionError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    return HttpConnection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


class HttpClient:
    """Client of one server; made inside a running event loop. Requests at the same time have a connection each."""

    def __init__(self, server: Server, *, max_answer_bytes: int) -> None:
        self.server, self._max_answer_bytes = server, max_answer_bytes
        self._idle: list[HttpConnection] = []
        self._closed = False

    async def request(self, request: Request) -> Answer:
        """Send a request, on an idle connection if there is one, and return its answer.

        Raises:
            AnswerTooLargeError: The answer is larger than the client's limit.
            OSError: The server cannot be reached, or does not answer in HTTP.
        """
        if (connection := self._take_idle()) is not None:
            try:
                return await self._exchange(connection, request)
            except _ClosedBeforeAnswerError:
                pass  # it had been idle for too long: the request is sent once more, on a new one
        return await self._exchange(await connect(self.server), request)

    async def _exchange(self, connection: HttpConnection, request: Request) -> Answer:
        try:
            answer = await connection.exchange(request, max_bytes=self._max_answer_bytes)
        except BaseException:  # also when the caller gives up: an answer may still come on it
            connection.close()
            raise
        if connection.prepare_next() and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _take_idle(self) -> HttpConnection | None:
        oldest = asyncio.get_running_loop().time() - IDLE_TIMEOUT_S
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet() and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close the idle connections; one with a request is closed when that has ended."""
        self._closed = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()
