"""Send HTTP/1.1 requests over TCP, TLS or a unix socket, and read bounded answers. h11 knows the protocol.

aiohttp would do it too, for 13 MB and 0.2 s of CPU time in every container (docs/decisions/0007-http-client.md).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h11

from autopilot.errors import AutopilotError

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 60.0  # of a connection that is kept for the next request
READ_BYTES = 1 << 16
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


class HttpConnection:
    """One connection, with one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
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
            return await self._exchange(request, max_bytes, truncate)
        except h11.ProtocolError as error:
            raise ConnectionError(str(error)) from None

    async def _exchange(self, request: Request, max_bytes: int, truncate: bool) -> Answer:
        headers = [(name.encode(), text.strip(" \t").encode("latin-1")) for name, text in request.headers.items()]
        if request.body:
            headers.append((b"Content-Length", str(len(request.body)).encode()))
        message = h11.Request(method=request.method, target=request.target, headers=headers)
        sent = (self._http.send(message) or b"") + (self._http.send(h11.Data(data=request.body)) or b"")
        self._writer.write(sent + (self._http.send(h11.EndOfMessage()) or b""))
        await self._writer.drain()
        status, answer_headers, parts, size, received = 0, {}, [], 0, 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(READ_BYTES)
                if not data and not received:
                    raise _ClosedBeforeAnswerError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
                received += len(data)
                if received > 2 * max_bytes + MAX_HEAD_BYTES:  # chunks of one byte, or endless interim answers
                    raise AnswerTooLargeError(f"the answer is larger than {max_bytes} bytes")
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
                answer_headers = {
                    name.decode("latin-1").title(): text.decode("latin-1") for name, text in event.headers
                }
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                size += len(event.data)
                if size >= max_bytes and truncate:
                    break
                if size > max_bytes:
                    raise AnswerTooLargeError(f"the answer is larger than {max_bytes} bytes")
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
        return Answer(status, answer_headers, b"".join(parts)[:max_bytes])

    def prepare_next(self) -> bool:
        """Return True if the connection takes another request."""
        if (self._http.our_state, self._http.their_state) != (h11.DONE, h11.DONE) or self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        self.idle_since = asyncio.get_running_loop().time()
        return self.is_open()

    def is_open(self) -> bool:
        """Return True unless either side has closed the connection."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    def close(self) -> None:
        """Close the connection, without waiting for the server."""
        self._writer.close()


async def connect(server: Server) -> HttpConnection:
    """Connect to a server.

    Raises:
        OSError: It cannot be reached within CONNECT_TIMEOUT_S seconds, or its certificate is not accepted.
    """
    name = (server.server_name or server.host) if server.ssl_context is not None else None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if server.socket_path:
                streams = await asyncio.open_unix_connection(server.socket_path)
            else:
                streams = await asyncio.open_connection(
                    server.host, server.port, ssl=server.ssl_context, server_hostname=name
                )
    except TimeoutError:
        raise ConnectionError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    return HttpConnection(*streams)


class HttpClient:
    """Client of one server; made inside a running event loop. Requests at the same time have a connection each."""

    def __init__(self, server: Server, *, max_answer_bytes: int) -> None:
        self.server, self._max_answer_bytes = server, max_answer_bytes
        self._idle: list[HttpConnection] = []

    async def request(self, request: Request) -> Answer:
        """Send a request, on an idle connection if there is one, and return its answer.

        Raises:
            AnswerTooLargeError: The answer is larger than the client's limit.
            OSError: The server cannot be reached, or does not answer in HTTP.
        """
        while True:
            connection = self._take_idle()
            is_new = connection is None
            connection = connection or await connect(self.server)
            try:
                answer = await connection.exchange(request, max_bytes=self._max_answer_bytes)
            except _ClosedBeforeAnswerError:
                connection.close()
                if is_new:
                    raise
                continue  # it was closed as it had been idle: another one is tried
            except BaseException:  # also when the caller gives up: an answer may still come on it
                connection.close()
                raise
            if connection.prepare_next():
                self._idle.append(connection)
            else:
                connection.close()
            return answer

    def _take_idle(self) -> HttpConnection | None:
        oldest = asyncio.get_running_loop().time() - IDLE_TIMEOUT_S
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open() and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close the idle connections; those with a request are closed by its end."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
