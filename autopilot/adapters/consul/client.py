"""The HTTP API of Consul: py-consul's asynchronous client over one aiohttp session of ours.

What py-consul cannot do is done here with the same session, and only here: a TTL update with its output in the body
(in the URL 1 MB is answered 431), a blocking read of one service of the agent, whether a token is known, a name for
the server's certificate, a token in every call, a new token while we run. Every call has a time limit, and whatever
goes wrong is one of two things: Consul cannot be reached, or it refuses.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from consul import aio, base
from consul.exceptions import ConsulException

from autopilot.adapters.consul.access import Access

CONNECT = 5.0  # s
CALL = 15.0  # s; with quorum lost an agent answers a registration after 7.1 s, and takes it
WAIT = 60  # s that a blocking query is held; Consul adds up to a sixteenth
HELD = WAIT * 17 / 16 + 10  # s

UNKNOWN = ("does not have associated TTL", "Unknown check", "Unknown service", "unknown service ID")


class Unreachable(Exception):
    """No answer: refused, broken off, or not in time."""


class Refused(Exception):
    """An answer that says no."""


class Gone(Refused):
    """The agent does not know the service or the check."""


class _Transport(aio.HTTPClient):  # type: ignore[misc]  # py-consul has no types
    """py-consul's transport, on our session: with our TLS, and without its limits of time and connections."""

    def __init__(self, access: Access) -> None:
        parts = urllib.parse.urlsplit(access.base)
        base.HTTPClient.__init__(self, parts.hostname or "", parts.port or 8500, parts.scheme)
        self.base_uri = access.base
        self._server_name = access.server_name if access.ssl_context is not None else None
        connector = aiohttp.TCPConnector(limit=0, ssl=access.ssl_context or True, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

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
            method, uri, headers=headers, data=data or None, server_hostname=self._server_name
        ) as response:
            body = await response.read()
            text = body if raw else body.decode(errors="replace")
            return callback(base.Response(response.status, response.headers, text))


class _Consul(aio.Consul):  # type: ignore[misc]
    def __init__(self, access: Access) -> None:
        self._access = access
        super().__init__(host="", port=0)  # neither is asked of the environment then
        self.token = None  # py-consul would prefer the environment's to ours

    def http_connect(self, *_: Any, **__: Any) -> _Transport:
        return _Transport(self._access)

    def prepare_headers(self, token: str | None = None) -> dict[str, str]:
        own = token or self._access.current_token()
        return {"X-Consul-Token": own} if own else {}


class Client:
    """Made with a running loop."""

    def __init__(self, access: Access) -> None:
        self.api = _Consul(access)

    async def close(self) -> None:
        await self.api.http.close()

    async def call(self, request: Any, *, limit: float = CALL) -> Any:
        """Wait for one of py-consul's requests. Raises Unreachable, Refused, Gone."""
        try:
            async with asyncio.timeout(limit):
                return await request
        except TimeoutError:
            raise Unreachable(f"no answer within {limit:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(_reason(error)) from None
        except ConsulException as error:
            said = str(error).strip()
            raise (Gone if any(text in said for text in UNKNOWN) else Refused)(said[:300]) from None

    # --- what py-consul does not have ---

    async def register(self, body: Mapping[str, Any]) -> None:
        """With tags and addresses that may be empty, and the check's own words."""
        await self.call(self._put("/v1/agent/service/register", body))

    async def update(self, check: str, status: str, output: str) -> None:
        path = f"/v1/agent/check/update/{check}"
        await self.call(self._put(path, {"Status": status, "Output": output}))

    async def service(self, id: str, *, hash: str = "", limit: float | None = None) -> Mapping[str, Any] | None:
        """What the agent holds of one of its services, None: nothing. With the `hash` of what was seen, not before it
        is different from that, or a minute has passed."""
        params = [("hash", hash), ("wait", f"{WAIT}s")] if hash else []
        limit = limit or (HELD if hash else CALL)
        found: Mapping[str, Any] | None = await self.call(self._get(f"/v1/agent/service/{id}", params), limit=limit)
        return found

    async def token_is_known(self) -> bool:
        """A token that Consul does not know sees no services and no error: it must not look as if all were gone."""
        try:
            await self.call(self._get("/v1/acl/token/self", []))
        except Refused as refused:
            return "ACL not found" not in str(refused)
        return True

    def _get(self, path: str, params: list[tuple[str, Any]]) -> Any:
        return self.api.http.get(_data, path, params=params, headers=self.api.prepare_headers())

    def _put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.api.http.put(_data, path, data=json.dumps(body), headers=self.api.prepare_headers())


def _data(response: Any) -> Any:
    if response.code == 404:
        return None
    if response.code >= 400:
        raise ConsulException(f"{response.code} {response.body}")
    return json.loads(response.body) if response.body.strip() else None


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
