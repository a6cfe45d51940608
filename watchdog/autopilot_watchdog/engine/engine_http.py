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

OLDEST_API_VERSION, NEWEST_API_VERSION = (1, 40), (1, 51)  # API versions whose calls, as used here, we know
ANSWER_TIMEOUT_S = 30.0  # s for an answer to begin, unless a call says otherwise


class EngineUnreachableError(Exception):
    """The engine did not answer: nothing is known."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        self.timed_out = timed_out
        super().__init__(message)


class EngineRefusedError(Exception):
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


class EngineClient:
    """One engine. Raises EngineUnreachable or EngineRefused."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self._version_info: dict[str, Any] | None = None

    @property
    def version_info(self) -> dict[str, Any]:
        """The engine's own account of its version; asked for once."""
        if self._version_info is None:
            self._version_info = self.request_json("GET", "/version", versioned=False, timeout=10)
        return self._version_info

    @property
    def platform(self) -> tuple[str, str]:
        """Operating system and architecture, in the registry's words: linux, amd64."""
        return str(self.version_info.get("Os", "linux")), str(self.version_info.get("Arch", "amd64"))

    def request_json(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        timeout: float = ANSWER_TIMEOUT_S,
        versioned: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One call's JSON answer; None when it has no body."""
        with self.open_response(
            method, path, query, body, timeout=timeout, versioned=versioned, headers=headers
        ) as response:
            text = self._read_body(response)
        try:
            return json.loads(text) if text.strip() else None
        except ValueError as error:
            raise EngineUnreachableError(
                f"cannot understand {self.name}'s answer to {method} {path}: {error}"
            ) from None

    @contextmanager
    def open_response(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        timeout: float = ANSWER_TIMEOUT_S,
        versioned: bool = True,
        headers: Mapping[str, str] | None = None,
        without_read_timeout: bool = False,
    ) -> Iterator[http.client.HTTPResponse]:
        """One call's response, open for reading. `endless`: it may be silent for as long as it likes."""
        target = (self._get_version_prefix() if versioned else "") + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        with closing(UnixConnection(self.path, timeout)) as connection:
            try:
                connection.request(method, target, content, sent)
                if without_read_timeout:
                    connection.sock.settimeout(None)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._build_unreachable_error(error) from None
            if response.status >= 400:
                raise EngineRefusedError(response.status, _parse_error_message(self._read_body(response)))
            yield response

    def read_json_lines(self, response: http.client.HTTPResponse) -> Iterator[Any]:
        """A stream of JSON documents, one per line. Timeouts of the socket are the caller's."""
        while line := response.readline():
            if line.strip():
                yield json.loads(line)

    def _get_version_prefix(self) -> str:
        def parse_version(key: str, default: str) -> tuple[int, int]:
            major, _, minor = str(self.version_info.get(key) or default).partition(".")
            return int(major), int(minor)

        theirs, least = parse_version("ApiVersion", "1.40"), parse_version("MinAPIVersion", "1.12")
        if theirs < OLDEST_API_VERSION:
            raise EngineUnreachableError(
                f"cannot use {self.name}: its API is {theirs}, at least {OLDEST_API_VERSION} is needed"
            )
        major, minor = max(min(theirs, NEWEST_API_VERSION), least)
        return f"/v{major}.{minor}"

    def _read_body(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._build_unreachable_error(error) from None

    def _build_unreachable_error(self, error: Exception) -> EngineUnreachableError:
        said = f"cannot reach {self.name} at {self.path}: {_describe_error(error)}"
        return EngineUnreachableError(said, timed_out=isinstance(error, TimeoutError))


def _describe_error(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _parse_error_message(answer: bytes) -> str:
    try:
        document = json.loads(answer)
        return str(document.get("message") or document.get("cause") or document)
    except (ValueError, AttributeError):
        return answer.decode(errors="replace").strip() or "no reason given"
