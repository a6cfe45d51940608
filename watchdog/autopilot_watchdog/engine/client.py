"""HTTP over an engine's unix socket, by the standard library: the measured cheapest (docs/dependencies.md).

The API version is negotiated: the newest that both know. Docker 29 refuses everything below 1.44 and both Podmans
report 1.41, so no fixed version works on all.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode

OLDEST, NEWEST = (1, 40), (1, 51)  # API versions whose calls, as used here, we know
TIMEOUT = 30.0  # s for an answer to begin, unless a call says otherwise


class EngineUnreachable(Exception):
    """The engine did not answer: nothing is known."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        self.timed_out = timed_out
        super().__init__(message)


class EngineRefused(Exception):
    """The engine answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """One engine. Raises EngineUnreachable or EngineRefused."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self._about: dict[str, Any] | None = None

    @property
    def about(self) -> dict[str, Any]:
        """The engine's own account of its version; asked for once."""
        if self._about is None:
            self._about = self.json("GET", "/version", versioned=False, timeout=10)
        return self._about

    @property
    def platform(self) -> tuple[str, str]:
        """Operating system and architecture, in the registry's words: linux, amd64."""
        return str(self.about.get("Os", "linux")), str(self.about.get("Arch", "amd64"))

    def json(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        timeout: float = TIMEOUT,
        versioned: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One call's JSON answer; None when it has no body."""
        with self.call(method, path, query, body, timeout=timeout, versioned=versioned, headers=headers) as response:
            text = self._read(response)
        try:
            return json.loads(text) if text.strip() else None
        except ValueError as error:
            raise EngineUnreachable(f"cannot understand {self.name}'s answer to {method} {path}: {error}") from None

    @contextmanager
    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        timeout: float = TIMEOUT,
        versioned: bool = True,
        headers: Mapping[str, str] | None = None,
        endless: bool = False,
    ) -> Iterator[http.client.HTTPResponse]:
        """One call's response, open for reading. `endless`: it may be silent for as long as it likes."""
        target = (self._prefix() if versioned else "") + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        with closing(UnixConnection(self.path, timeout)) as connection:
            try:
                connection.request(method, target, content, sent)
                if endless:
                    connection.sock.settimeout(None)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from None
            if response.status >= 400:
                raise EngineRefused(response.status, _message(self._read(response)))
            yield response

    def lines(self, response: http.client.HTTPResponse) -> Iterator[Any]:
        """A stream of JSON documents, one per line. Timeouts of the socket are the caller's."""
        while line := response.readline():
            if line.strip():
                yield json.loads(line)

    def _prefix(self) -> str:
        def pair(key: str, default: str) -> tuple[int, int]:
            major, _, minor = str(self.about.get(key) or default).partition(".")
            return int(major), int(minor)

        theirs, least = pair("ApiVersion", "1.40"), pair("MinAPIVersion", "1.12")
        if theirs < OLDEST:
            raise EngineUnreachable(f"cannot use {self.name}: its API is {theirs}, at least {OLDEST} is needed")
        major, minor = max(min(theirs, NEWEST), least)
        return f"/v{major}.{minor}"

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> EngineUnreachable:
        said = f"cannot reach {self.name} at {self.path}: {_why(error)}"
        return EngineUnreachable(said, timed_out=isinstance(error, TimeoutError))


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _message(answer: bytes) -> str:
    try:
        document = json.loads(answer)
        return str(document.get("message") or document.get("cause") or document)
    except (ValueError, AttributeError):
        return answer.decode(errors="replace").strip() or "no reason given"
