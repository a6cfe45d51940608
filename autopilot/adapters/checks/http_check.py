"""Check a job's health with an HTTP GET: a status in the wanted range passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.spec.plan import Command, Probe

if TYPE_CHECKING:
    import asyncio

    import h11

BATCH_SYSTEM = None
MAX_BODY_BYTES = 4096  # of a response; the rest is not read
MAX_SHOWN_CHARACTERS = 200  # of a response's body in the check's output


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe(Probe):
    """Settings of a check by HTTP GET."""

    kind: ClassVar[str] = "http"

    url: str
    status: tuple[int, int] = (200, 399)  # first and last status that passes
    headers: Mapping[str, str] = field(default_factory=dict)


PROBE_TYPE = HttpProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of `jobs[].health.http`."""
    from typing import Annotated

    from pydantic import BeforeValidator, Field

    from autopilot.spec import fields as f
    from autopilot.spec.model_base import Shorthand, StrictModel

    class Http(StrictModel):
        """A health check by HTTP GET."""

        url: f.Url = Field(description="the address to get")
        status: f.StatusRange = Field(default=(200, 399), description="the status, or range of them, that passes")
        header: f.Headers = Field(default_factory=dict, description="headers to send")

    def expand(value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    annotation = Annotated[Http | None, BeforeValidator(expand), Shorthand("string")]
    return annotation, Field(default=None, description="a URL, or an object with url, status, header")


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> HttpProbe:
    """Return the settings for the plan."""
    return HttpProbe(url=value.url, status=value.status, headers=value.header)


async def run(probe: HttpProbe, context: CheckContext) -> CheckResult:
    """Get the URL once; redirects are not followed."""
    import h11  # loaded by the jobs that are checked so

    try:
        status, body = await _fetch(probe)
    except (OSError, ValueError, h11.ProtocolError) as error:
        return False, f"GET {probe.url}: {getattr(error, 'strerror', None) or error}"
    first, last = probe.status
    text = " ".join(body.decode(errors="replace").split())[:MAX_SHOWN_CHARACTERS]
    return first <= status <= last, f"GET {probe.url}: {status} {text}".rstrip()


async def _fetch(probe: HttpProbe) -> tuple[int, bytes]:
    """Return the response's status and the begin of its body."""
    import asyncio  # these not where a plan is only read
    import ssl
    from urllib.parse import urlsplit

    import h11

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
        encoded = [(name.encode(), text.rstrip(" \t").encode("latin-1")) for name, text in headers.items()]
        writer.write(connection.send(h11.Request(method="GET", target=target, headers=encoded)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return await _read_response(connection, reader)
    finally:
        writer.close()


async def _read_response(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    import h11

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
