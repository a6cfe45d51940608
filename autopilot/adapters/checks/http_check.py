"""Check a job's health with an HTTP GET: a status in the wanted range passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.spec.plan import Command, Probe

if TYPE_CHECKING:
    import ssl
    from urllib.parse import SplitResult

    from autopilot.adapters.http_client import Answer

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
    shown = _hide_credentials(probe.url)
    try:
        answer = await _fetch(probe)
    except (OSError, ValueError) as error:
        return False, f"GET {shown}: {getattr(error, 'strerror', None) or error}"
    first, last = probe.status
    text = " ".join(answer.body.decode(errors="replace").split())[:MAX_SHOWN_CHARACTERS]
    return first <= answer.status <= last, f"GET {shown}: {answer.status} {text}".rstrip()


async def _fetch(probe: HttpProbe) -> Answer:
    """Return the answer, with the begin of its body."""
    from urllib.parse import urlsplit  # these not where a plan is only read

    from autopilot.adapters.http_client import Request, Server, connect

    url = urlsplit(probe.url)
    context = _get_ssl_context() if url.scheme == "https" else None
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection = await connect(Server(url.hostname or "", url.port or (443 if context else 80), context))
    try:
        request = Request("GET", target, _build_headers(probe, url))
        return await connection.exchange(request, max_bytes=MAX_BODY_BYTES, truncate=True)
    finally:
        connection.close()


def _build_headers(probe: HttpProbe, url: SplitResult) -> dict[str, str]:
    """Return the probe's headers, and our own where it has none of that name, whatever its case."""
    user, _, host = url.netloc.rpartition("@")
    headers = {"Host": host, "Connection": "close", "User-Agent": "autopilot"}
    if user:
        from base64 import b64encode
        from urllib.parse import unquote

        headers["Authorization"] = f"Basic {b64encode(unquote(user).encode()).decode()}"
    given = {name.lower() for name in probe.headers}
    return {name: text for name, text in headers.items() if name.lower() not in given} | dict(probe.headers)


def _hide_credentials(url: str) -> str:
    """Return a URL without its user and password, for the log."""
    scheme, _, rest = url.partition("://")
    netloc, slash, path = rest.partition("/")
    return f"{scheme}://{netloc.rpartition('@')[2]}{slash}{path}"


@lru_cache(maxsize=1)
def _cache_ssl_context(_hour: int) -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


def _get_ssl_context() -> ssl.SSLContext:
    """Return the settings of TLS; to read the system's certificates takes 50 ms, so they are kept for an hour."""
    return _cache_ssl_context(int(time.monotonic() // 3600))
