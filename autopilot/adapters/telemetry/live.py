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
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from autopilot.adapters.wire import PATIENCE, Page, Refused, Stream

LISTENERS = 16
SPACING = 0.5  # s between two events
SILENCE = 5.0  # s after which the status is sent although nothing happened: the page tells a dead line by it
PAGE = Path(__file__).with_name("page.html")


class Live:
    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        """Made with a running loop. `look` gives what a page shows."""
        self._look = look
        # weak: a stream whose client leaves before its first event is never run, and so cannot take itself out
        self._listeners: WeakSet[asyncio.Event] = WeakSet()

    def stir(self) -> None:
        for listener in self._listeners:
            listener.set()

    def stream(self) -> Stream:
        """Raises Refused when too many listen."""
        if len(self._listeners) >= LISTENERS:
            raise Refused(503, f"{LISTENERS} listen already; ask for /v1/status now and then")
        stirred = asyncio.Event()
        self._listeners.add(stirred)
        return Stream("text/event-stream", self._events(stirred), patience=PATIENCE)

    async def _events(self, stirred: asyncio.Event) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"data: %s\n\n" % json.dumps({**self._look(), "now": time.time()}).encode()
                await asyncio.sleep(SPACING)
                with suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE):
                        await stirred.wait()
                stirred.clear()
        finally:
            self._listeners.discard(stirred)


def page() -> Page:
    """Raises OSError when the installation lacks it."""
    text = PAGE.read_bytes()
    script, style = (_digest(text, tag) for tag in (b"script", b"style"))
    allowed = f"default-src 'none'; connect-src 'self'; img-src data:; script-src {script}; style-src {style}"
    headers = {"Content-Security-Policy": f"{allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
    return Page("text/html; charset=utf-8", text, {**headers, "X-Content-Type-Options": "nosniff"})


def _digest(text: bytes, tag: bytes) -> str:
    """Of the one element of that name: the only one that a browser may use."""
    (inner,) = re.findall(b"<%s>(.*?)</%s>" % (tag, tag), text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inner).digest()).decode()}'"
