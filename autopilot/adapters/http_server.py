"""Serve one request for each connection over HTTP/1.1: the answer is JSON, a page or a stream.

h11 implements the protocol; this module connects it to asyncio's streams.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import h11

from autopilot.errors import AutopilotError

PATHS_WITH_BODY = ("/v3/environ", "/v3/env", "/v3/metric")  # ContainerPilot reads no body elsewhere
CLIENT_TIMEOUT_S = 10.0  # for a client to send its request, and to read its answer
MAX_BODY_BYTES = 64 * 1024
MAX_CLIENTS = 256  # at the same time, of one socket or port
NDJSON_CONTENT_TYPE = "application/x-ndjson"
T = TypeVar("T")


class Page(NamedTuple):
    """An answer whose text is given, in place of an object that becomes JSON."""

    content_type: str
    data: bytes
    headers: Mapping[str, str] = {}


class Stream(NamedTuple):
    """An answer that lasts until one of both sides ends it.

    A client that reads nothing for `write_timeout_s` is disconnected; None: there is no limit.
    """

    content_type: str
    parts: AsyncGenerator[bytes, None]
    write_timeout_s: float | None = None


Body = Mapping[str, object] | Sequence[object] | Page | Stream
Response = tuple[int, Body]
Handler = Callable[[str, str, Mapping[str, object]], Awaitable[Response]]
OnAnswered = Callable[[int, str], None]  # gets status and path of each answered request
Inspector = Callable[["RequestHead"], None]  # may raise RequestError
ClientHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RequestHead(NamedTuple):
    """A request that is about to be handled; `host` is its Host header, "" without one."""

    method: str
    path: str
    host: str
    client: socket.socket


class RequestError(AutopilotError):
    """A request that cannot be served: the HTTP status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def build_client_handler(
    handler: Handler,
    on_answered: OnAnswered = lambda _status, _path: None,
    inspect: Inspector = lambda _head: None,
) -> ClientHandler:
    """Return the callback for asyncio's servers.

    Beyond MAX_CLIENTS the client is disconnected that has been idle for the longest time: it has sent no whole request,
    or does not read its answer. When no client is idle the new one is refused. A client that does not read has no
    connection left when its time is over: what it would not take is thrown away.

    Args:
        handler: Returns the answer to (method, path, body), or raises RequestError.
        on_answered: Called with status and path of each answer.
        inspect: Called with each request before it is handled; raises RequestError to refuse it.

    Returns:
        The callback. Its limit counts the clients of all servers that use it.
    """
    clients: set[asyncio.StreamWriter] = set()
    idle: dict[asyncio.StreamWriter, None] = {}  # the longest one first

    async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def handle_whole_request(head: RequestHead) -> None:
            idle.pop(writer, None)
            inspect(head)

        def await_reading() -> None:
            if writer in clients:
                idle[writer] = None

        if len(clients) >= MAX_CLIENTS and idle:
            oldest = next(iter(idle))
            del idle[oldest]
            clients.discard(oldest)
            oldest.transport.abort()
        try:
            if len(clients) < MAX_CLIENTS:
                clients.add(writer)
                idle[writer] = None
                with suppress(OSError, TimeoutError):
                    await serve_request(
                        reader, writer, handler, on_answered, handle_whole_request, on_page=await_reading
                    )
        finally:
            clients.discard(writer)
            idle.pop(writer, None)
            if writer.transport.get_write_buffer_size():  # close() would wait for this client for ever
                writer.transport.abort()
            writer.close()

    return serve_client


async def serve_request(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    handler: Handler,
    on_answered: OnAnswered,
    inspect: Inspector,
    *,
    on_page: Callable[[], None],
) -> None:
    """Serve one client.

    Args:
        reader: Its requests.
        writer: Its answers. After each `drain` all is sent.
        handler: As for `build_client_handler`.
        on_answered: As for `build_client_handler`.
        inspect: As for `build_client_handler`.
        on_page: Called before an answer with an end is sent: from now on it is the client's turn.

    Raises:
        OSError: The client closed the connection.
        TimeoutError: The client sent no whole request, or did not read the answer, within CLIENT_TIMEOUT_S.
    """
    connection = h11.Connection(h11.SERVER)
    writer.transport.set_write_buffer_limits(
        high=0
    )  # after drain() all is sent, so that close() has nothing to wait for
    method = path = ""
    answer: Body
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            method, path, host, body = await _read_request(connection, reader, writer)
        inspect(RequestHead(method, path, host, writer.get_extra_info("socket")))
        status, answer = await _await_unless_disconnected(
            handler(method, path, _parse_body(body, path)), reader, writer
        )
    except h11.RemoteProtocolError as error:
        status, answer = 400, {"error": str(error)}
    except RequestError as error:
        status, answer = error.status, {"error": str(error)}
    except (OSError, TimeoutError):
        raise
    except Exception as error:  # no request may end a supervisor
        status, answer = 500, {"error": f"internal error: {error!r}; please report it"}
    if isinstance(answer, Stream):
        on_answered(status, path)
        try:
            await _await_unless_disconnected(_send_stream(connection, writer, answer), reader, writer)
        except OSError:
            raise
        except Exception as error:  # too late for a status: the client sees a closed connection
            raise ConnectionResetError(f"the stream broke: {error!r}") from error
        return
    page = answer if isinstance(answer, Page) else Page("application/json", json.dumps(answer).encode() + b"\n")
    headers = [("Content-Type", page.content_type), ("Content-Length", str(len(page.data))), ("Connection", "close")]
    head = _build_head(status, [*headers, *page.headers.items()])
    on_page()
    try:
        content = h11.Data(data=b"" if method == "HEAD" else page.data)
        await _send(connection, writer, head, content, h11.EndOfMessage(), timeout=CLIENT_TIMEOUT_S)
    finally:
        if path and status != 404:
            on_answered(status, path)


def _build_head(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    """Return the head of an answer, with the reason that scripts look for: `HTTP/1.1 200 OK`."""
    return h11.Response(status_code=status, reason=HTTPStatus(status).phrase, headers=headers)


def format_json_lines(records: Iterable[Mapping[str, object]]) -> Page:
    """Return `records` as a page with one JSON object per line: a stream that has ended already."""
    return Page(NDJSON_CONTENT_TYPE, b"".join(json.dumps(record).encode() + b"\n" for record in records))


def build_json_stream(batches: AsyncGenerator[list[dict[str, Any]], None]) -> Stream:
    """Return a stream with one JSON object per line for each record of the batches."""

    async def generate_parts() -> AsyncGenerator[bytes, None]:
        async with aclosing(batches):
            async for records in batches:
                yield format_json_lines(records).data

    return Stream(NDJSON_CONTENT_TYPE, generate_parts())


async def _send_stream(connection: h11.Connection, writer: asyncio.StreamWriter, stream: Stream) -> None:
    """Send a stream; a client that does not read delays nobody, for the source of the parts does not wait for it."""
    headers = [("Content-Type", stream.content_type), ("Cache-Control", "no-store"), ("Connection", "close")]
    await _send(connection, writer, _build_head(200, headers), timeout=CLIENT_TIMEOUT_S)
    async with aclosing(stream.parts):
        async for part in stream.parts:
            if part:
                await _send(connection, writer, h11.Data(data=part), timeout=stream.write_timeout_s)
    await _send(connection, writer, h11.EndOfMessage(), timeout=CLIENT_TIMEOUT_S)


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    *events: h11.Event,
    timeout: float | None,
) -> None:
    for event in events:
        writer.write(connection.send(event) or b"")
    async with asyncio.timeout(timeout):
        await writer.drain()


async def _await_unless_disconnected(
    work: Awaitable[T], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> T:
    """Return the result of `work`, however long it takes.

    Raises:
        ConnectionResetError: The client closed the connection meanwhile; `work` was cancelled.
    """

    async def watch_client() -> None:
        if not await reader.read(1) and _is_disconnected(writer):
            raise ConnectionResetError("the client closed the connection")

    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch_client())
            result = await work
            watcher.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return result


def _is_disconnected(writer: asyncio.StreamWriter) -> bool:
    """Return True when the client closed both directions; netcat closes only its own and still reads."""
    polled = select.poll()
    polled.register(writer.get_extra_info("socket").fileno(), 0)
    return any(event & select.POLLHUP for _, event in polled.poll(0))


async def _read_request(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[str, str, str, bytes]:
    """Return method, path, Host header and body."""
    method, path, host, body = "", "", "", b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:  # curl, before a long body
                writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            connection.receive_data(await reader.read(8192))
        elif isinstance(event, h11.Request):
            method, path = event.method.decode(), event.target.decode()
            host = next((value.decode("latin-1") for name, value in event.headers if name == b"host"), "")
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) > MAX_BODY_BYTES:
                raise RequestError(413, f"a request may have {MAX_BODY_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return method, path, host, body
        else:
            raise ConnectionResetError("the client closed the connection")


def _parse_body(body: bytes, path: str) -> Mapping[str, object]:
    is_containerpilots = path.startswith("/v3/")
    if is_containerpilots and not path.startswith(PATHS_WITH_BODY):
        return {}
    malformed = 422 if is_containerpilots else 400  # 422 is ContainerPilot's
    try:
        value = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise RequestError(malformed, f"cannot read the request's JSON: {error}") from None
    if value is None and is_containerpilots:  # Go reads null as an empty map
        return {}
    if not isinstance(value, dict):
        raise RequestError(malformed, f"a request is a JSON object, not {type(value).__name__}")
    return value
