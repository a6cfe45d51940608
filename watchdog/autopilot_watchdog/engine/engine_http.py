"""Send HTTP requests over an engine's unix socket.

The standard library serves: it is the cheapest that was measured (docs/dependencies.md). The API version is the newest
that both sides know: Docker 29 refuses everything below 1.44 and Podman reports 1.41, so no fixed version fits all.

Every call has a limit on its whole time, since an engine that sends a byte now and then would hold a pass for ever. The
streams without an end have none: the events, and a log that is followed. No pass waits for them.

The version is taken from the answer to a ping, as Docker's own command does. GET /version costs Podman half a second of
a CPU, for it runs the package manager to describe its parts, so a busy host needs many seconds for it. It is asked for
if the ping tells no version, or one above NEWEST_API_VERSION: the oldest one of such an engine matters, too.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any
from urllib.parse import urlencode

from autopilot_watchdog.bounded_http import TimeLimit, bound_answers, limit_time
from autopilot_watchdog.bounded_json import MAX_DOCUMENT_BYTES, clip_text, get_text, parse_json
from autopilot_watchdog.engine.engine import EngineNonsenseError, EngineRefusedError, EngineUnreachableError

OLDEST_API_VERSION, NEWEST_API_VERSION = (1, 40), (1, 51)  # API versions for which our calls are right
DEFAULT_API_VERSIONS = {"ApiVersion": "1.40", "MinAPIVersion": "1.12"}  # of an engine that does not tell
MAX_LINE_BYTES = 1 << 20  # of a stream's JSON line
MAX_CHUNK_BYTES = 1 << 16  # of a stream that is read as it comes
ANSWER_TIMEOUT_S = 30.0  # for a whole answer, unless a call sets another limit


class UnixConnection(http.client.HTTPConnection):
    """HTTP connection over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class EngineClient:
    """Client of an engine's HTTP API; every call may raise EngineUnreachableError or EngineRefusedError."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self._version_info: dict[str, Any] | None = None
        self._version_prefix = ""  # of the paths, such as /v1.41; "" until it is known

    @property
    def version_info(self) -> dict[str, Any]:
        """Answer of GET /version; asked for again after a broken connection, for the engine may be another one then."""
        found = self._version_info  # another thread may clear it meanwhile
        if found is None:
            answer = self.request_json("GET", "/version", versioned=False)
            if not isinstance(answer, dict):
                raise EngineNonsenseError(f"{self.name} answers nonsense: its version is no object")
            self._version_info = found = answer
        return found

    def request_json(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        timeout: float = ANSWER_TIMEOUT_S,
        versioned: bool = True,
    ) -> Any:
        """Return the JSON answer of one call; None if it has no body. Arguments as for open_response."""
        with self.open_response(
            method, path, query, body, timeout=timeout, versioned=versioned, max_bytes=MAX_DOCUMENT_BYTES
        ) as response:
            text = self._read_body(response)
        try:
            return parse_json(text) if text.strip() else None
        except ValueError as error:
            raise EngineNonsenseError(f"cannot parse the answer of {self.name} to {method} {path}: {error}") from None

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
        is_endless: bool = False,
        max_bytes: int | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one call and yield its response, open for reading.

        Args:
            method: The HTTP method.
            path: The path below the API's version.
            query: The parameters of the URL.
            body: The JSON document to send; None for none.
            timeout: Seconds for the whole call, until the caller has read the answer.
            versioned: False to leave the API's version out of the path.
            headers: Headers beside Content-Type.
            is_endless: True if the response may take any time and be silent for any time, too.
            max_bytes: Bytes of the largest answer; None for a stream without an end.

        Raises:
            EngineUnreachableError: There was no answer, or it broke off while the caller read it.
            EngineRefusedError: The answer was an error.
        """
        target = (self._get_version_prefix() if versioned else "") + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        all_headers = {"Content-Type": "application/json", **(headers or {})}
        with closing(UnixConnection(self.path, timeout)) as connection, ExitStack() as stack:
            bound_answers(connection, max_bytes)
            limit: TimeLimit | None = None
            try:
                connection.connect()
                if not is_endless:
                    limit = stack.enter_context(limit_time(connection.sock, timeout))
                connection.request(method, target, content, all_headers)
                if is_endless:
                    connection.sock.settimeout(None)
                response = connection.getresponse()
                stack.callback(response.close)  # it keeps the socket open after `Connection: close`
                if response.status >= 400:
                    message = _parse_error_message(self._read_body(response))
                    if limit is not None:
                        limit.check()  # a cut answer may look like a whole one
                    raise EngineRefusedError(response.status, message)
                yield response
                if limit is not None:
                    limit.check()
            except (OSError, http.client.HTTPException, EngineUnreachableError) as error:
                has_timed_out = isinstance(error, TimeoutError) or getattr(error, "timed_out", False)
                if limit is not None and (limit.expired or has_timed_out):  # a cut connection looks like a broken one
                    raise self._build_unreachable_error(limit.build_error()) from None
                if isinstance(error, EngineUnreachableError):
                    raise
                raise self._build_unreachable_error(error) from None

    def read_json_lines(self, response: http.client.HTTPResponse) -> Iterator[Any]:
        """Yield the JSON documents of a stream, one per line; raise ValueError for a line that is none."""
        while line := response.readline(MAX_LINE_BYTES):
            if line.strip():
                yield parse_json(line)

    def read_chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the bytes of a stream as they come.

        Raises:
            EngineUnreachableError: The stream broke off.
        """
        try:
            while chunk := response.read1(MAX_CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._build_unreachable_error(error) from None

    def _get_version_prefix(self) -> str:
        """Return the API version's part of the paths; asked for again after a broken connection."""
        found = self._version_prefix  # another thread may clear it meanwhile
        if not found:
            newest, oldest = self._ask_newest_version(), OLDEST_API_VERSION
            if newest is None or newest > NEWEST_API_VERSION:
                newest, oldest = self._parse_version_info("ApiVersion"), self._parse_version_info("MinAPIVersion")
            if newest < OLDEST_API_VERSION:
                raise EngineUnreachableError(
                    f"cannot use {self.name}: its API version is {newest}, at least {OLDEST_API_VERSION} is needed"
                )
            major, minor = max(min(newest, NEWEST_API_VERSION), oldest)
            self._version_prefix = found = f"/v{major}.{minor}"
        return found

    def _ask_newest_version(self) -> tuple[int, int] | None:
        """Return the newest API version of the engine's answer to a ping; None if it tells none."""
        try:
            with self.open_response("GET", "/_ping", versioned=False) as response:
                return _parse_version(response.getheader("Api-Version", ""))
        except EngineRefusedError:
            return None

    def _parse_version_info(self, key: str) -> tuple[int, int]:
        version = _parse_version(get_text(self.version_info, key) or DEFAULT_API_VERSIONS[key])
        if version is None:
            self._version_info = None
            raise EngineUnreachableError(f"{self.name} answers nonsense: its {key} is no version")
        return version

    def _read_body(self, response: http.client.HTTPResponse) -> bytes:
        try:
            body = response.read(MAX_DOCUMENT_BYTES + 1)  # parse_json refuses a longer one
        except (OSError, http.client.HTTPException) as error:
            raise self._build_unreachable_error(error) from None
        return body

    def _build_unreachable_error(self, error: Exception) -> EngineUnreachableError:
        self._version_info, self._version_prefix = None, ""
        sentence = f"cannot reach {self.name} at {self.path}: {_describe_error(error)}"
        return EngineUnreachableError(sentence, timed_out=isinstance(error, TimeoutError))


def _parse_version(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", text)
    return (int(match[1]), int(match[2])) if match else None


def _describe_error(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _parse_error_message(answer: bytes) -> str:
    try:
        document = parse_json(answer)
        message = get_text(document, "message") or get_text(document, "cause")
    except ValueError:
        message = ""
    return message or clip_text(answer[:MAX_LINE_BYTES].decode(errors="replace").strip()) or "no reason given"
