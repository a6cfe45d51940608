"""Send HTTP requests with a limit on their whole time and on their answers: http and https only.

A socket's timeout begins anew with each byte, so a server that sends one byte now and then would hold a pass for ever.
Here a timer shuts the connection down when the time of the whole request is over.

Bytes are counted as they come from the network: http.client reads a redirect's body, endless headers and a chunk of
size -1 without a limit of its own.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from typing import Any

from autopilot_watchdog.errors import WatchdogError

FRAMING_BYTES = 1 << 20  # of headers


class AnswerTooLargeError(WatchdogError, OSError):
    """More bytes came than any answer has."""


class _CountedStream(io.RawIOBase):
    """Stream that breaks after a number of bytes."""

    def __init__(self, stream: io.RawIOBase, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = self._remaining = max_bytes

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the next bytes; raise AnswerTooLargeError when there were too many."""
        count = self._stream.readinto(buffer)
        self._remaining -= count or 0
        if self._remaining < 0:
            raise AnswerTooLargeError(f"the answer is larger than {self._max_bytes >> 10} KiB")
        return count

    def close(self) -> None:
        """Close the stream below, too."""
        self._stream.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """Answer whose chunks have sizes."""

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]  # the hook of http.client
        if size < 0:
            self._close_conn()  # type: ignore[attr-defined]  # as for a size that is no number
            raise ValueError("a chunk has a negative size")
        return size


def bound_answers(connection: http.client.HTTPConnection, max_bytes: int | None) -> None:
    """Bound the answers on a connection.

    Args:
        connection: The connection, not yet used.
        max_bytes: Bytes of the largest body, for which twice as many may come: chunks have sizes. None for a stream
            without an end.
    """

    class CountedResponse(BoundedResponse):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            if max_bytes is not None:
                self.fp = io.BufferedReader(_CountedStream(self.fp.detach(), 2 * max_bytes + FRAMING_BYTES))

    connection.response_class = CountedResponse


class TimeLimit:
    """Limit on the time of all connections of one request."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self.expired = False

    def __enter__(self) -> TimeLimit:
        try:
            self._timer.start()
        except RuntimeError as error:  # as at the limit of processes
            raise OSError(f"cannot limit the time of the request: {error}") from None
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()
        with self._lock:
            for guard in self._sockets:
                guard.close()
            self._sockets.clear()

    def watch(self, connection: socket.socket) -> None:
        """Let the limit cut this connection.

        Raises:
            TimeoutError: The time is over already.
        """
        with self._lock:
            self.check()
            self._sockets.append(connection.dup())  # TLS takes the descriptor away from the object

    def check(self) -> None:
        """Raise TimeoutError if the time is over."""
        if self.expired or time.monotonic() >= self._end:
            raise self.build_error()

    def build_error(self) -> TimeoutError:
        """Return the error that tells that the time is over."""
        return TimeoutError(f"no complete answer within {self._seconds:.1f} s")

    def connect(self, address: tuple[str, int], timeout: Any, source_address: Any) -> socket.socket:
        """Connect as socket.create_connection does, to all addresses of a name within the limit."""
        error: OSError = OSError(f"no address of {address[0]}")
        for family, kind, protocol, _, target in socket.getaddrinfo(*address, 0, socket.SOCK_STREAM):
            self.check()
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(max(0.001, self._end - time.monotonic()))
                connection.connect(target)
                self.watch(connection)
                return connection
            except OSError as problem:
                connection.close()
                error = problem
        raise error

    def _cut(self) -> None:
        with self._lock:
            self.expired = True
            for guard in self._sockets:
                with suppress(OSError):
                    guard.shutdown(socket.SHUT_RDWR)


@contextmanager
def limit_time(connection: socket.socket, seconds: float) -> Iterator[TimeLimit]:
    """Cut an open connection after so many seconds, however lively it is."""
    with TimeLimit(seconds) as limit:
        limit.watch(connection)
        yield limit


class _LimitedHandler(urllib.request.HTTPSHandler):
    """Handler of both schemes with connections that the request's limit can cut."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(context=context)
        self._tls = context
        self.limit: TimeLimit | None = None
        self.max_bytes = 0  # of the body of the present request's answer

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request without TLS."""
        return self.do_open(self._make_plain, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request with TLS."""
        return self.do_open(self._make_tls, request)

    http_request = urllib.request.AbstractHTTPHandler.do_request_

    def _make_plain(self, host: str, **options: Any) -> http.client.HTTPConnection:
        return self._guard(http.client.HTTPConnection(host, **options))

    def _make_tls(self, host: str, **options: Any) -> http.client.HTTPConnection:
        return self._guard(http.client.HTTPSConnection(host, context=self._tls, **options))

    def _guard(self, connection: http.client.HTTPConnection) -> http.client.HTTPConnection:
        assert self.limit is not None
        bound_answers(connection, self.max_bytes)
        connection._create_connection = self.limit.connect  # type: ignore[attr-defined]  # the hook of http.client
        return connection


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Handler of redirects that never leads from https to http."""

    def redirect_request(  # noqa: PLR0917  # urllib's signature
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """Return the request that follows a redirect."""
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"it redirects from https to {newurl.partition(':')[0][:20]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class HttpClient:
    """Client for http and https; urllib's other schemes, such as file, are not there."""

    def __init__(self, *, context: ssl.SSLContext | None = None, use_proxies: bool = True) -> None:
        self._handler = _LimitedHandler(context)
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler() if use_proxies else urllib.request.ProxyHandler({}),
            urllib.request.UnknownHandler(),
            self._handler,
            urllib.request.HTTPDefaultErrorHandler(),
            _RedirectHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def send(self, request: urllib.request.Request, limit_s: float, max_bytes: int) -> tuple[Message, bytes]:
        """Send a request and return the headers and the body of its answer.

        Args:
            request: The request.
            limit_s: Seconds for everything: connections, redirects, headers and body.
            max_bytes: Bytes of the largest body.

        Raises:
            urllib.error.HTTPError: The answer is an error; it is closed.
            OSError: There is no complete answer in time.
            ValueError: The body is larger, or a part of the request cannot be sent.
            http.client.HTTPException: The answer is no HTTP.
        """
        with TimeLimit(limit_s) as limit:
            self._handler.limit, self._handler.max_bytes = limit, max_bytes
            try:
                with self._opener.open(request, timeout=limit_s) as response:
                    body = response.read(max_bytes + 1)
                    headers: Message = response.headers
            except urllib.error.HTTPError as error:
                error.close()
                raise
            except (OSError, http.client.HTTPException, ValueError):
                limit.check()  # a cut connection looks like a broken one
                raise
            limit.check()  # or like the end of the body
        if len(body) > max_bytes:
            raise ValueError(f"the answer is larger than {max_bytes >> 10} KiB")
        return headers, body
