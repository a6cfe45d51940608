"""The status page, and the stream of server-sent events that keeps it up to date.

Every effect of this life stirs the stream; whoever listens is sent the whole status, at most twice a second. The page
is one file without anything from elsewhere, which a browser is told not to allow either; it is read when asked for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from autopilot.adapters.http_server import CLIENT_TIMEOUT_S, Page, RequestError, Stream

if TYPE_CHECKING:
    from autopilot.api.messages import PageStatus

MAX_LISTENERS = 16
MIN_EVENT_INTERVAL_S = 0.5  # s between two events
MAX_EVENT_INTERVAL_S = (
    5.0  # s after which the status is sent although nothing happened: the page tells a dead line by it
)
PAGE_PATH = Path(__file__).with_name("page.html")


class StatusStream:
    def __init__(self, read_status: Callable[[], PageStatus]) -> None:
        """Made with a running loop. `look` gives what a page shows."""
        self._read_status = read_status
        # weak: a stream whose client leaves before its first event is never run, and so cannot take itself out
        self._listeners: WeakSet[asyncio.Event] = WeakSet()

    def notify_listeners(self) -> None:
        for listener in self._listeners:
            listener.set()

    def open_stream(self) -> Stream:
        """Raises Refused when too many listen."""
        if len(self._listeners) >= MAX_LISTENERS:
            raise RequestError(503, f"{MAX_LISTENERS} listen already; ask for /v1/status now and then")
        stirred = asyncio.Event()
        self._listeners.add(stirred)
        return Stream("text/event-stream", self._generate_events(stirred), write_timeout_s=CLIENT_TIMEOUT_S)

    async def _generate_events(self, stirred: asyncio.Event) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"data: %s\n\n" % json.dumps(self._read_status()).encode()
                await asyncio.sleep(MIN_EVENT_INTERVAL_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(MAX_EVENT_INTERVAL_S):
                        await stirred.wait()
                stirred.clear()
        finally:
            self._listeners.discard(stirred)


def load_page() -> Page:
    """Raises OSError when the installation lacks it."""
    text = PAGE_PATH.read_bytes()
    script, style = (_compute_csp_hash(text, tag) for tag in (b"script", b"style"))
    allowed = f"default-src 'none'; connect-src 'self'; img-src data:; script-src {script}; style-src {style}"
    headers = {"Content-Security-Policy": f"{allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
    return Page("text/html; charset=utf-8", text, {**headers, "X-Content-Type-Options": "nosniff"})


def _compute_csp_hash(text: bytes, tag: bytes) -> str:
    """Of the one element of that name: the only one that a browser may use."""
    (inner,) = re.findall(b"<%s>(.*?)</%s>" % (tag, tag), text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inner).digest()).decode()}'"
