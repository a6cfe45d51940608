"""One request and one answer over HTTP/1.1: JSON, a page, or a stream.

The protocol is h11's; what is here is its use.
"""

from __future__ import annotations

import asyncio
import json
import select
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, NamedTuple, TypeVar

import h11

CLIENT_TIMEOUT_S = 10.0  # s for a client to say what it wants, and to take its answer
MAX_BODY_BYTES = 64 * 1024  # bytes
MAX_CLIENTS = 256  # at once, of one socket or port
T = TypeVar("T")


class Page(NamedTuple):
    """An answer that is not JSON."""

    content_type: str
    data: bytes
    headers: Mapping[str, str] = {}


class Stream(NamedTuple):
    """An answer that goes on for as long as both want. `patience` (s): a client that takes nothing for so long is left;
    None: it is waited for."""

    content_type: str
    parts: AsyncGenerator[bytes, None]
    write_timeout_s: float | None = None


Body = Mapping[str, object] | Sequence[object] | Page | Stream
Response = tuple[int, Body]
Handler = Callable[[str, str, Mapping[str, object]], Awaitable[Response]]
OnAnswered = Callable[[int, str], None]  # told the status and the path of each request that somebody answers to
ClientHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RequestError(Exception):
    """A request that cannot be served: the status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def build_client_handler(handler: Handler, on_answered: OnAnswered = lambda _status, _path: None) -> ClientHandler:
    """What asyncio's servers call for each client. Beyond CLIENTS one is turned away at once: descriptors are few."""
    clients = 0

    async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients
        clients += 1
        try:
            if clients <= MAX_CLIENTS:
                with suppress(OSError, TimeoutError):
                    await serve_request(reader, writer, handler, on_answered)
        finally:
            clients -= 1
            writer.close()

    return serve_client


async def serve_request(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    handler: Handler,
    on_answered: OnAnswered,
) -> None:
    """Serve one client. Raises OSError and TimeoutError when it leaves or says nothing."""
    connection = h11.Connection(h11.SERVER)
    method = path = ""
    answer: Body
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            method, path, body = await _read_request(connection, reader, writer)
        status, answer = await _await_unless_disconnected(
            handler(method, path, _parse_body(body, path)), reader, writer
        )
    except h11.RemoteProtocolError as error:
        status, answer = 400, {"error": str(error)}
    except RequestError as refused:
        status, answer = refused.status, {"error": str(refused)}
    except (OSError, TimeoutError):
        raise
    except Exception as error:  # a client's request must not be what ends a supervisor
        status, answer = 500, {"error": f"internal error: {error!r}; please report it"}
    if isinstance(answer, Stream):
        on_answered(status, path)
        try:
            await _await_unless_disconnected(_send_stream(connection, writer, answer), reader, writer)
        except OSError:
            raise
        except Exception as error:  # it is too late for a status: the client sees a cut
            raise ConnectionResetError(f"the stream broke: {error!r}") from error
        return
    page = answer if isinstance(answer, Page) else Page("application/json", json.dumps(answer).encode() + b"\n")
    headers = [("Content-Type", page.content_type), ("Content-Length", str(len(page.data))), ("Connection", "close")]
    head = h11.Response(status_code=status, headers=[*headers, *page.headers.items()])
    try:
        await _send(connection, writer, head, h11.Data(data=b"" if method == "HEAD" else page.data), h11.EndOfMessage())
    finally:
        if path and status != 404:
            on_answered(status, path)


NDJSON_CONTENT_TYPE = "application/x-ndjson"


def format_json_lines(records: Iterable[Mapping[str, object]]) -> Page:
    """A stream that has ended already."""
    return Page(NDJSON_CONTENT_TYPE, b"".join(json.dumps(record).encode() + b"\n" for record in records))


def build_json_stream(batches: AsyncGenerator[list[dict[str, Any]], None]) -> Stream:
    """Each record as a line of JSON."""

    async def generate_parts() -> AsyncGenerator[bytes, None]:
        async with aclosing(batches):
            async for records in batches:
                yield format_json_lines(records).data

    return Stream(NDJSON_CONTENT_TYPE, generate_parts())


async def _send_stream(connection: h11.Connection, writer: asyncio.StreamWriter, stream: Stream) -> None:
    """A client that does not read holds up nobody but itself: whoever makes the parts does not wait for us."""
    writer.transport.set_write_buffer_limits(high=0)  # what has been drained has been sent: we may end at any time
    headers = [("Content-Type", stream.content_type), ("Cache-Control", "no-store"), ("Connection", "close")]
    await _send(connection, writer, h11.Response(status_code=200, headers=headers))
    async with aclosing(stream.parts):
        async for part in stream.parts:
            if part:
                await _send(connection, writer, h11.Data(data=part), timeout=stream.write_timeout_s)
    await _send(connection, writer, h11.EndOfMessage())


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    *events: h11.Event,
    timeout: float | None = CLIENT_TIMEOUT_S,
) -> None:
    for event in events:
        writer.write(connection.send(event) or b"")
    async with asyncio.timeout(timeout):
        await writer.drain()


async def _await_unless_disconnected(
    work: Awaitable[T], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> T:
    """The answer, however long it takes. Raises ConnectionResetError when the client does not wait for it."""
    answering, leaving = asyncio.ensure_future(work), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not answering.done() and not leaving.result() and _is_disconnected(writer):
            raise ConnectionResetError("the client left")
        return await answering
    finally:
        answering.cancel()
        leaving.cancel()


def _is_disconnected(writer: asyncio.StreamWriter) -> bool:
    """A client that has only said all that it will, as netcat does, still listens."""
    polled = select.poll()
    polled.register(writer.get_extra_info("socket").fileno(), 0)
    return any(event & select.POLLHUP for _, event in polled.poll(0))


async def _read_request(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[str, str, bytes]:
    method, path, body = "", "", b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:  # curl, before a long body
                writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            connection.receive_data(await reader.read(8192))
        elif isinstance(event, h11.Request):
            method, path = event.method.decode(), event.target.decode()
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) > MAX_BODY_BYTES:
                raise RequestError(413, f"a request may have {MAX_BODY_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return method, path, body
        else:
            raise ConnectionResetError("the client left")


def _parse_body(body: bytes, path: str) -> Mapping[str, object]:
    malformed = 422 if path.startswith("/v3/") else 400  # the one is ContainerPilot's
    try:
        value = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise RequestError(malformed, f"cannot read the request's JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestError(malformed, f"a request is a JSON object, not {type(value).__name__}")
    return value
