"""Health checks without a process: HTTP and TCP. One verdict and one sentence each; the caller sets the time limit."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import h11

from autopilot.spec.plan import HttpProbe, TcpProbe

CheckResult = tuple[bool, str]
MAX_BODY_BYTES = 4096  # bytes of a body that are worth keeping for the verdict


async def check_tcp(probe: TcpProbe) -> CheckResult:
    try:
        _, writer = await asyncio.open_connection(probe.host, probe.port)
    except (OSError, ValueError) as error:  # a name that cannot be one is a ValueError
        error = error if isinstance(error, OSError) else OSError(str(error))
        return False, f"cannot connect to {probe.host}:{probe.port}: {error.strerror or error}"
    writer.close()
    return True, f"{probe.host}:{probe.port} accepts connections"


async def check_http(probe: HttpProbe) -> CheckResult:
    try:
        status, body = await _fetch(probe)
    except (OSError, ValueError, h11.ProtocolError) as error:
        return False, f"GET {probe.url}: {getattr(error, 'strerror', None) or error}"
    first, last = probe.status
    text = " ".join(body.decode(errors="replace").split())[:200]
    return first <= status <= last, f"GET {probe.url}: {status} {text}".rstrip()


async def _fetch(probe: HttpProbe) -> tuple[int, bytes]:
    url = urlsplit(probe.url)
    secure = url.scheme == "https"
    context = ssl.create_default_context() if secure else None
    port = url.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=context)
    try:
        connection = h11.Connection(h11.CLIENT)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {
            "Host": url.netloc.rpartition("@")[2],
            "Connection": "close",
            "User-Agent": "autopilot",
            **probe.headers,
        }
        writer.write(connection.send(h11.Request(method="GET", target=target, headers=list(headers.items()))) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return await _read_response(connection, reader)
    finally:
        writer.close()


async def _read_response(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, body = 0, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(MAX_BODY_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body = (body + bytes(event.data))[:MAX_BODY_BYTES]
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return status, body
        if len(body) >= MAX_BODY_BYTES:
            return status, body
