"""The HTTP API of Consul: py-consul's asynchronous client over one aiohttp session of ours.

What py-consul cannot do is done here with the same session, and only here: a TTL update with its output in the body
(in the URL 1 MB is answered 431), a blocking read of one service of the agent, what a token may see, a name for the
server's certificate, a token in every call, a new token while we run. Every call has a time limit, and whatever
goes wrong is one of two things: Consul cannot be reached, or it refuses.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
from consul import aio, base
from consul.exceptions import ConsulException

from autopilot.adapters.consul.connection_settings import ConnectionSettings

CONNECT_TIMEOUT_S = 5.0  # s
CALL_TIMEOUT_S = 15.0  # s; with quorum lost an agent answers a registration after 7.1 s, and takes it
LOCAL_CALL_TIMEOUT_S = 5.0  # s for what an agent answers without its servers: so soon is one that hangs noticed
BLOCKING_WAIT_S = 60  # s that a blocking query is held; Consul adds up to a sixteenth
BLOCKING_QUERY_TIMEOUT_S = BLOCKING_WAIT_S * 17 / 16 + 10  # s

MAX_STALE_READS = 3  # the agent may ask a server that has just died
MAX_AUTHORIZE_REQUESTS = 64  # questions that an agent takes at once
FORBIDDEN_MESSAGES = ("Permission denied", "ACL not found")
UNKNOWN_SERVICE_MESSAGES = ("does not have associated TTL", "Unknown check", "Unknown service", "unknown service ID")


class ConsulUnreachableError(Exception):
    """No answer: refused, broken off, or not in time."""


class ConsulRefusedError(Exception):
    """An answer that says no."""


class NotRegisteredError(ConsulRefusedError):
    """The agent does not know the service or the check."""


@contextmanager
def reject_malformed_answers() -> Iterator[None]:
    """Around what reads an answer. Raises Refused when it is none of Consul's: a load balancer's page too comes with
    a 200."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ConsulRefusedError(f"no answer of Consul: {error}"[:300]) from None


class _Transport(aio.HTTPClient):  # type: ignore[misc]  # py-consul has no types
    """py-consul's transport, on our session: with our TLS, and without its limits of time and connections."""

    def __init__(self, settings: ConnectionSettings) -> None:
        parts = urllib.parse.urlsplit(settings.base_url)
        base.HTTPClient.__init__(self, parts.hostname or "", parts.port or 8500, parts.scheme)
        self.base_uri = settings.base_url
        self._server_name = settings.server_name if settings.ssl_context is not None else None
        connector = aiohttp.TCPConnector(limit=0, ssl=settings.ssl_context or True, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
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


class _ConsulApi(aio.Consul):  # type: ignore[misc]
    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        super().__init__(host="", port=0)  # neither is asked of the environment then
        self.token = None  # py-consul would prefer the environment's to ours

    def http_connect(self, *_: Any, **__: Any) -> _Transport:
        return _Transport(self._settings)

    def prepare_headers(self, token: str | None = None) -> dict[str, str]:
        own = token or self._settings.read_current_token()
        return {"X-Consul-Token": own} if own else {}


class ConsulClient:
    """Made with a running loop."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self.api = _ConsulApi(settings)
        self._settings, self._reachable_again = settings, asyncio.Event()

    @property
    def token(self) -> str:
        return self._settings.read_current_token()

    @property
    def token_renewable(self) -> bool:
        """Whether the token may become another while we live."""
        return bool(self._settings.token_file)

    async def close(self) -> None:
        await self.api.http.close()

    async def call(self, request: Any, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Wait for one of py-consul's requests. Raises Unreachable, Refused, Gone."""
        with reject_malformed_answers():
            return await self._await_request(request, timeout_s)

    async def _await_request(self, request: Any, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await request
        except TimeoutError:
            raise ConsulUnreachableError(f"no answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConsulUnreachableError(_describe_error(error)) from None
        except ConsulException as error:
            said = str(error).strip()
            raise (
                NotRegisteredError if any(text in said for text in UNKNOWN_SERVICE_MESSAGES) else ConsulRefusedError
            )(said[:300]) from None

    # --- what py-consul does not have ---

    async def register(self, body: Mapping[str, Any]) -> None:
        """With tags and addresses that may be empty, and the check's own words."""
        await self.call(self._put("/v1/agent/service/register", body))

    async def update_check(self, check_id: str, status: str, output: str) -> None:
        path = f"/v1/agent/check/update/{check_id}"
        await self.call(self._put(path, {"Status": status, "Output": output}), timeout_s=LOCAL_CALL_TIMEOUT_S)

    async def get_service(
        self, id: str, *, content_hash: str = "", timeout_s: float | None = None
    ) -> Mapping[str, Any] | None:
        """What the agent holds of one of its services, None: nothing. With the `hash` of what was seen, not before it
        is different from that, or a minute has passed."""
        params = [("hash", content_hash), ("wait", f"{BLOCKING_WAIT_S}s")] if content_hash else []
        timeout_s = timeout_s or (BLOCKING_QUERY_TIMEOUT_S if content_hash else CALL_TIMEOUT_S)
        found: Mapping[str, Any] | None = await self.call(
            self._get(f"/v1/agent/service/{id}", params, _parse_object), timeout_s=timeout_s
        )
        return found

    async def list_services(self) -> Mapping[str, Mapping[str, Any]]:
        """What the agent holds, by id."""
        found: Mapping[str, Mapping[str, Any]] = await self.call(
            self._get("/v1/agent/services", [], _parse_object), timeout_s=LOCAL_CALL_TIMEOUT_S
        )
        return found

    async def get_leader(self, *, timeout_s: float) -> str:
        """The address of the servers' leader, "" for none."""
        found: str = await self.call(self._get("/v1/status/leader", []), timeout_s=timeout_s)
        return found

    async def find_node_name(self, service_id: str) -> str:
        """The name of the agent's node, from the check of a service that it holds. Raises Refused: it holds none."""
        check = json.dumps(service_id)
        request = self._get("/v1/agent/checks", [("filter", f"ServiceID == {check}")], _parse_object)
        found = await self.call(request, timeout_s=LOCAL_CALL_TIMEOUT_S)
        with reject_malformed_answers():
            for check in (found or {}).values():
                return str(check["Node"])
        raise ConsulRefusedError(f"the agent shows no check of {service_id}")

    async def await_node_change(self, node: str, index: int) -> int:
        """The index of what the servers hold of the services of a node; not before it has moved on from `index`, or a
        minute has passed. Any server may answer."""
        held = [("index", index), ("wait", f"{BLOCKING_WAIT_S}s")] if index else []
        params = [("stale", ""), ("filter", 'ID == ""'), *held]  # the index is all that is wanted
        answered: int = await self.call(
            self._get(f"/v1/catalog/node-services/{node}", params, _parse_index), timeout_s=BLOCKING_QUERY_TIMEOUT_S
        )
        return answered

    # --- its presence ---

    def notify_reachable(self) -> None:
        """Who rests because nobody answered need not wait any longer."""
        self._reachable_again.set()
        self._reachable_again.clear()

    async def wait_until_reachable(self, timeout_s: float) -> None:
        """As long, or until Consul answers again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._reachable_again.wait()

    async def read_with_stale_fallback(self, path: str, **params: str) -> Any:
        """What the servers hold below a path; without a leader what one of them held last. None: nothing."""
        attempts, asked = MAX_STALE_READS, list(params.items())
        while True:
            try:
                return await self.call(self._get(path, asked))
            except ConsulRefusedError as refused:
                if not attempts or not str(refused).startswith("500 "):
                    raise
            attempts, asked = attempts - 1, [*params.items(), ("stale", "")]

    # --- what a token may see ---

    async def may_read_service(self, name: str, nodes: Sequence[str] = (), dc: str | None = None) -> bool:
        """Whether the token may read that service and these nodes; those it may not are left out of answers as if they
        did not exist, also for a token that is not known at all. Raises Unreachable, Refused: nobody can say.

        The servers say it of a service, by its configuration entry, which need not exist. Of a node only the agent says
        it, from what it has cached (30 s, `acl_token_ttl`)."""
        path, params = f"/v1/config/service-defaults/{urllib.parse.quote(name, safe='')}", [("dc", dc)] if dc else []
        if not await self._is_permitted(self._get(path, params)):
            return False
        if not nodes:
            return True
        asked = [{"Resource": "node", "Access": "read", "Segment": node} for node in nodes[:MAX_AUTHORIZE_REQUESTS]]
        post = self.api.http.post(
            _parse_json, "/v1/internal/acl/authorize", data=json.dumps(asked), headers=self.api.prepare_headers()
        )
        try:
            answers = await self.call(post)
        except ConsulRefusedError as refused:
            if "ACL support disabled" in str(refused):
                return True
            raise
        return all(answer["Allow"] for answer in answers or ())

    async def may_read_key(self, path: str) -> bool:
        """Raises Unreachable, Refused: nobody can say."""
        return await self._is_permitted(self._get(f"/v1/kv/{urllib.parse.quote(path)}", []))

    async def _is_permitted(self, request: Any) -> bool:
        try:
            await self.call(request)
        except ConsulRefusedError as refused:
            if any(text in str(refused) for text in FORBIDDEN_MESSAGES):
                return False
            raise
        return True

    def _get(self, path: str, params: list[tuple[str, Any]], parse: Callable[[Any], Any] | None = None) -> Any:
        return self.api.http.get(parse or _parse_json, path, params=params, headers=self.api.prepare_headers())

    def _put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.api.http.put(_parse_json, path, data=json.dumps(body), headers=self.api.prepare_headers())


def _parse_json(response: Any) -> Any:
    if response.code == 404:
        return None
    if response.code >= 400:
        raise ConsulException(f"{response.code} {response.body}")
    return json.loads(response.body) if response.body.strip() else None


def _parse_object(response: Any) -> Any:
    data = _parse_json(response)
    if data is not None and not isinstance(data, dict):
        raise TypeError(f"{type(data).__name__} instead of an object")
    return data


def _parse_index(response: Any) -> int:
    _parse_json(response)
    return int(response.headers.get("X-Consul-Index", 0))


def compute_next_index(index: int, answered_index: int) -> int:
    """The index to ask with next. One that went backwards is of another history: from the beginning."""
    return answered_index if answered_index >= index else 0


def _describe_error(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.errno is not None:
        of_errno = error.errno > 0 and not isinstance(error, ssl.SSLError)  # which has numbers of its own
        return os.strerror(error.errno) if of_errno else str(error.strerror)
    return str(error) or type(error).__name__
