"""Adapt py-consul to our HTTP client: our TLS settings, the current token in every request.

py-consul's own transports limit time and connections, take their address and token from the environment, and cannot
name the server's certificate.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.parse
from collections.abc import Callable
from typing import Any

from autopilot.adapters.consul.connection_settings import ConnectionSettings
from autopilot.adapters.consul.consul_library import ConsulException, consul_base
from autopilot.adapters.http_client import Answer, AnswerTooLargeError, HttpClient, Request, Server

REDIRECT_STATUSES = (301, 302, 303, 307, 308)
MAX_ANSWER_BYTES = 64 << 20  # the history of a large fleet has some 40 MiB


class _Transport(consul_base.HTTPClient):  # type: ignore[misc]  # py-consul has no types
    """py-consul's transport on our HTTP client."""

    def __init__(self, settings: ConnectionSettings) -> None:
        parts = urllib.parse.urlsplit(settings.base_url)
        super().__init__(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), parts.scheme)
        self.base_uri = ""  # `uri` then returns the target of a request
        self._host = parts.netloc
        server = Server(self.host, self.port, settings.ssl_context, settings.server_name, settings.socket_path)
        self._client = HttpClient(server, max_answer_bytes=MAX_ANSWER_BYTES)

    def get(
        self, callback: Any, path: str, params: Any = None, headers: Any = None, raw: bool = False, **_: object
    ) -> Any:
        """Return the coroutine of a GET (called by py-consul too, as the next three are)."""
        return self._request(callback, "GET", self.uri(path, params), headers, raw=raw)

    def put(
        self, callback: Any, path: str, params: Any = None, data: Any = "", headers: Any = None, **_: object
    ) -> Any:
        """Return the coroutine of a PUT."""
        return self._request(callback, "PUT", self.uri(path, params), headers, data)

    def delete(
        self, callback: Any, path: str, params: Any = None, data: Any = "", headers: Any = None, **_: object
    ) -> Any:
        """Return the coroutine of a DELETE."""
        return self._request(callback, "DELETE", self.uri(path, params), headers, data)

    def post(
        self, callback: Any, path: str, params: Any = None, data: Any = "", headers: Any = None, **_: object
    ) -> Any:
        """Return the coroutine of a POST."""
        return self._request(callback, "POST", self.uri(path, params), headers, data)

    def close(self) -> None:
        """Close the idle connections."""
        self._client.close()

    async def _request(
        self,
        callback: Callable[[Any], Any],
        method: str,
        target: str,
        headers: dict[str, str] | None,
        data: str | bytes = "",
        *,
        raw: bool = False,
    ) -> Any:
        body = data.encode() if isinstance(data, str) else data or b""
        request = Request(method, target, {"Host": self._host, "User-Agent": "autopilot", **(headers or {})}, body)
        try:
            answer = await self._client.request(request)
        except AnswerTooLargeError:
            raise ConsulException(f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB") from None
        if answer.status in REDIRECT_STATUSES:
            raise _build_redirect_error(answer)
        text = answer.body if raw else answer.body.decode(errors="replace")
        return callback(consul_base.Response(answer.status, answer.headers, text))


def _build_redirect_error(answer: Answer) -> ConsulException:
    target = answer.headers.get("Location", "")[:100]
    return ConsulException(
        f"{answer.status} it redirects to {target!r}, and the token goes to no other address; "
        "if that is your Consul, give its address"
    )


class ConsulApi(consul_base.Consul):  # type: ignore[misc]
    """py-consul's client with our transport and our token."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        super().__init__(host="", port=0)  # a given address keeps py-consul from reading the environment
        self.token = None  # py-consul would prefer the environment's token to ours

    def http_connect(self, *_: Any, **__: Any) -> _Transport:
        """Return the transport (called by py-consul)."""
        return _Transport(self._settings)

    def prepare_headers(self, token: str | None = None) -> dict[str, str]:
        """Return the headers of a request (called by py-consul too)."""
        current = token or self._settings.read_current_token()
        return {"X-Consul-Token": current} if current else {}


def parse_json(response: Any) -> Any:
    """Return the JSON value of an answer; None for status 404 and for an empty body.

    Raises:
        ConsulException: The status is an error.
        ValueError: The body is not JSON.
    """
    if response.code == 404:
        return None
    if response.code >= 400:
        raise ConsulException(f"{response.code} {response.body}")
    return json.loads(response.body) if response.body.strip() else None


def parse_object(response: Any) -> Any:
    """Return the JSON object of an answer, None as `parse_json`; raise TypeError for any other JSON value."""
    data = parse_json(response)
    if data is not None and not isinstance(data, dict):
        raise TypeError(f"{type(data).__name__} instead of an object")
    return data


def parse_index(response: Any) -> int:
    """Return the index of an answer to a blocking query, 0 when it has none."""
    parse_json(response)
    return int(response.headers.get("X-Consul-Index", 0))


def describe_error(error: BaseException) -> str:
    """Return the root cause of a connection error in the operating system's words."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.errno is not None:
        is_system_errno = error.errno > 0 and not isinstance(error, ssl.SSLError)  # TLS has numbers of its own
        return os.strerror(error.errno) if is_system_errno else str(error.strerror)
    return str(error) or type(error).__name__
