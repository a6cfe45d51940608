"""Serve the status page, and the stream of server-sent events that keeps it up to date.

After every effect of this life each listener is sent the whole status, at most twice a second. The page is one file
that loads nothing from elsewhere, and its content security policy forbids that too; it is read at each request.
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
MIN_EVENT_INTERVAL_S = 0.5
MAX_EVENT_INTERVAL_S = 5.0  # the status is sent without a change too, so that the page notices a dead connection
PAGE_PATH = Path(__file__).with_name("page.html")


class StatusStream:
    """The listeners to the status; made inside a running event loop."""

    def __init__(self, read_status: Callable[[], PageStatus]) -> None:
        self._read_status = read_status
        # weak: a stream whose client leaves before its first event is never run, so it cannot remove itself
        self._listeners: WeakSet[asyncio.Event] = WeakSet()

    def notify_listeners(self) -> None:
        """Send the status to every listener, as soon as its last event is old enough."""
        for listener in self._listeners:
            listener.set()

    def open_stream(self) -> Stream:
        """Return a new stream.

        Raises:
            RequestError: There are MAX_LISTENERS already.
        """
        if len(self._listeners) >= MAX_LISTENERS:
            raise RequestError(503, f"there are {MAX_LISTENERS} listeners already; poll /v1/status instead")
        changed = asyncio.Event()
        self._listeners.add(changed)
        return Stream("text/event-stream", self._generate_events(changed), write_timeout_s=CLIENT_TIMEOUT_S)

    async def _generate_events(self, changed: asyncio.Event) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"data: %s\n\n" % json.dumps(self._read_status()).encode()
                await asyncio.sleep(MIN_EVENT_INTERVAL_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(MAX_EVENT_INTERVAL_S):
                        await changed.wait()
                changed.clear()
        finally:
            self._listeners.discard(changed)


def load_page() -> Page:
    """Return the page with a policy that allows its own script and style only.

    Raises:
        OSError: The page is not installed.
    """
    text = PAGE_PATH.read_bytes()
    script, style = (_compute_csp_hash(text, tag) for tag in (b"script", b"style"))
    allowed = f"default-src 'none'; connect-src 'self'; img-src data:; script-src {script}; style-src {style}"
    headers = {"Content-Security-Policy": f"{allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
    return Page("text/html; charset=utf-8", text, {**headers, "X-Content-Type-Options": "nosniff"})


def _compute_csp_hash(text: bytes, tag: bytes) -> str:
    """Return the policy's source for the content of the page's only element with that tag."""
    (content,) = re.findall(b"<%s>(.*?)</%s>" % (tag, tag), text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
