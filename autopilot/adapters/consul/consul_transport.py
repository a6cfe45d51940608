"""Adapt py-consul to one aiohttp session of ours: our TLS settings, the current token in every request.

py-consul's own transport limits time and connections, takes its address and token from the environment, and cannot
name the server's certificate.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.parse
from collections.abc import Callable
from typing import Any

import aiohttp
from consul import aio, base
from consul.exceptions import ConsulException

from autopilot.adapters.consul.connection_settings import ConnectionSettings

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_TIMEOUT_S = 60
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
MAX_ANSWER_BYTES = 64 << 20  # the history of a large fleet has some 40 MiB


class _Transport(aio.HTTPClient):  # type: ignore[misc]  # py-consul has no types
    """py-consul's transport on our session."""

    def __init__(self, settings: ConnectionSettings) -> None:
        parts = urllib.parse.urlsplit(settings.base_url)
        base.HTTPClient.__init__(self, parts.hostname or "", parts.port or 8500, parts.scheme)
        self.base_uri = settings.base_url
        self._server_name = settings.server_name if settings.ssl_context is not None else None
        connector = (
            aiohttp.UnixConnector(settings.socket_path, limit=0, keepalive_timeout=KEEPALIVE_TIMEOUT_S)
            if settings.socket_path
            else aiohttp.TCPConnector(limit=0, ssl=settings.ssl_context or True, keepalive_timeout=KEEPALIVE_TIMEOUT_S)
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,  # a small answer that becomes gigabytes would get past our limit
            skip_auto_headers=["Accept-Encoding"],
        )

    async def _request(  # noqa: PLR0917 - py-consul's signature
        self,
        callback: Callable[[Any], Any],
        method: str,
        uri: str,
        headers: dict[str, str] | None,
        data: Any = None,
        connections_timeout: float | None = None,
        raw: bool = False,
    ) -> Any:
        async with self._session.request(
            method,
            uri,
            headers=headers,
            data=data or None,
            server_hostname=self._server_name,
            allow_redirects=False,
        ) as response:
            if response.status in REDIRECT_STATUSES:
                raise _build_redirect_error(response)
            body = await _read_body(response)
            text = body if raw else body.decode(errors="replace")
            return callback(base.Response(response.status, response.headers, text))


def _build_redirect_error(response: aiohttp.ClientResponse) -> ConsulException:
    target = response.headers.get("Location", "")[:100]
    return ConsulException(
        f"{response.status} it redirects to {target!r}, and the token goes to no other address; "
        "if that is your Consul, give its address"
    )


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the whole body of an answer.

    Raises:
        ConsulException: It is larger than any answer of Consul.
    """
    parts: list[bytes] = []
    size = 0
    while part := await response.content.readany():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            response.close()
            raise ConsulException(f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
    return b"".join(parts)


class ConsulApi(aio.Consul):  # type: ignore[misc]
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
