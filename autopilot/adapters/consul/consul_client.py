"""Call the HTTP API of Consul with a time limit on every call.

Requests that py-consul lacks are built here on the same session, and only here: a TTL update with its output in the
body (in the URL 1 MB is answered with 431), a blocking read of one service of the agent, the permissions of a token.
Every failure is one of two errors: Consul cannot be reached, or it refuses.
"""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from autopilot.adapters.consul.connection_settings import ConnectionSettings
from autopilot.adapters.consul.consul_errors import (
    MAX_ERROR_CHARS,
    ConsulRefusedError,
    ConsulUnreachableError,
    NotRegisteredError,
    reject_malformed_answers,
)
from autopilot.adapters.consul.consul_library import ConsulException
from autopilot.adapters.consul.consul_transport import (
    ConsulApi,
    describe_error,
    parse_index,
    parse_json,
    parse_object,
)

CALL_TIMEOUT_S = 15.0  # an agent whose servers lost their quorum accepts a registration after 7.1 s
LOCAL_CALL_TIMEOUT_S = 5.0  # for calls that an agent answers without its servers: detects an agent that hangs
BLOCKING_WAIT_S = 60  # Consul adds up to a sixteenth
BLOCKING_QUERY_TIMEOUT_S = BLOCKING_WAIT_S * 17 / 16 + 10

LEADERLESS_PERIOD_S = 20.0
MAX_STALE_READS = 3  # the agent may ask a server that has just died
MAX_AUTHORIZE_REQUESTS = 64  # permissions that an agent checks in one call
FORBIDDEN_MESSAGES = ("Permission denied", "ACL not found")
UNKNOWN_SERVICE_MESSAGES = ("does not have associated TTL", "Unknown check", "Unknown service", "unknown service ID")


class ConsulClient:
    """A client of one Consul agent; made inside a running event loop.

    Every method that calls Consul raises ConsulUnreachableError or ConsulRefusedError.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.api = ConsulApi(settings)
        self._settings, self._reachable_again = settings, asyncio.Event()
        self._leaderless_until = 0.0  # the event loop's time

    @property
    def token(self) -> str:
        """The ACL token that the next call sends."""
        return self._settings.read_current_token()

    @property
    def is_token_renewable(self) -> bool:
        """True if the token comes from a file, so that it may change while the process runs."""
        return bool(self._settings.token_file)

    def close(self) -> None:
        """Close the idle connections."""
        self.api.http.close()

    async def call(self, request: Any, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Await one of py-consul's requests and return its result.

        Raises:
            ConsulUnreachableError: No answer within `timeout_s`, or the connection failed.
            NotRegisteredError: The agent does not know the service or the check.
            ConsulRefusedError: Any other error, or an answer that is not Consul's.
        """
        with reject_malformed_answers():
            return await self._await_request(request, timeout_s)

    async def _await_request(self, request: Any, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await request
        except TimeoutError:
            raise ConsulUnreachableError(f"no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise ConsulUnreachableError(describe_error(error)) from None
        except ConsulException as error:
            message = str(error).strip()
            is_unknown = any(text in message for text in UNKNOWN_SERVICE_MESSAGES)
            raise (NotRegisteredError if is_unknown else ConsulRefusedError)(message[:MAX_ERROR_CHARS]) from None

    # --- the agent's services ---

    async def register(self, body: Mapping[str, Any]) -> None:
        """Register a service; unlike py-consul's call the body may have empty tags and a check output."""
        await self.call(self._put("/v1/agent/service/register", body))

    async def update_check(self, check_id: str, status: str, output: str) -> None:
        """Send a heartbeat: the status and the output of a TTL check."""
        path = f"/v1/agent/check/update/{check_id}"
        await self.call(self._put(path, {"Status": status, "Output": output}), timeout_s=LOCAL_CALL_TIMEOUT_S)

    async def get_service(
        self, id: str, *, content_hash: str = "", timeout_s: float | None = None
    ) -> Mapping[str, Any] | None:
        """Return the agent's entry of one of its services, None if it has none.

        Args:
            id: The service id.
            content_hash: The hash of the entry that the caller knows: the agent answers when the entry changes or
                after a minute. "" for an answer at once.
            timeout_s: The time limit, None for the usual one.
        """
        params = [("hash", content_hash), ("wait", f"{BLOCKING_WAIT_S}s")] if content_hash else []
        timeout_s = timeout_s or (BLOCKING_QUERY_TIMEOUT_S if content_hash else CALL_TIMEOUT_S)
        request = self._get(f"/v1/agent/service/{id}", params, parse_object)
        entry: Mapping[str, Any] | None = await self.call(request, timeout_s=timeout_s)
        return entry

    async def list_services(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the agent's entries of its services by id."""
        request = self._get("/v1/agent/services", [], parse_object)
        entries: Mapping[str, Mapping[str, Any]] = await self.call(request, timeout_s=LOCAL_CALL_TIMEOUT_S)
        return entries

    async def get_leader(self, *, timeout_s: float) -> str:
        """Return the address of the servers' leader, "" if there is none."""
        address: str = await self.call(self._get("/v1/status/leader", []), timeout_s=timeout_s)
        return address

    async def find_node_name(self, service_id: str) -> str:
        """Return the name of the agent's node, read from the check of one of its services.

        Raises:
            ConsulRefusedError: The agent shows no check of that service.
        """
        quoted = json.dumps(service_id)
        request = self._get("/v1/agent/checks", [("filter", f"ServiceID == {quoted}")], parse_object)
        checks = await self.call(request, timeout_s=LOCAL_CALL_TIMEOUT_S)
        with reject_malformed_answers():
            for check in (checks or {}).values():
                return str(check["Node"])
        raise ConsulRefusedError(f"the agent shows no check of {service_id}")

    async def await_node_change(self, node: str, index: int) -> int:
        """Return the servers' index of a node's services once it differs from `index`, or after a minute.

        An `index` of 0 is answered at once. Any server may answer, not the leader alone.
        """
        blocking = [("index", index), ("wait", f"{BLOCKING_WAIT_S}s")] if index else []
        params = [("stale", ""), ("filter", 'ID == ""'), *blocking]  # only the index is of use: no service matches
        request = self._get(f"/v1/catalog/node-services/{node}", params, parse_index)
        new_index: int = await self.call(request, timeout_s=BLOCKING_QUERY_TIMEOUT_S)
        return new_index

    # --- reachability ---

    def notify_reachable(self) -> None:
        """Wake all tasks in `wait_until_reachable`: Consul is reachable again."""
        self._reachable_again.set()
        self._reachable_again.clear()

    async def wait_until_reachable(self, timeout_s: float) -> None:
        """Wait for `timeout_s` seconds, or until Consul is reachable again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._reachable_again.wait()

    @property
    def is_leaderless(self) -> bool:
        """True for a while after a read that found no leader: each such read takes 7 s until it is refused."""
        return asyncio.get_running_loop().time() < self._leaderless_until

    async def read_with_stale_fallback(self, path: str, **params: str) -> Any:
        """Return the JSON value at a path; without a leader the last state that any server has.

        Returns:
            None if there is nothing at that path.
        """
        remaining_attempts, query = MAX_STALE_READS, list(params.items())
        if self.is_leaderless:
            query.append(("stale", ""))
        while True:
            try:
                return await self.call(self._get(path, query))
            except ConsulRefusedError as refused:
                if not remaining_attempts or not str(refused).startswith("500 "):
                    raise
            self._leaderless_until = asyncio.get_running_loop().time() + LEADERLESS_PERIOD_S
            remaining_attempts, query = remaining_attempts - 1, [*params.items(), ("stale", "")]

    # --- permissions of the token ---

    async def may_read_service(self, name: str, nodes: Sequence[str] = (), dc: str | None = None) -> bool:
        """Return True if the token may read a service and all these nodes.

        Consul leaves out of its answers everything that the token may not read, without an error, also for a token
        that it does not know. The servers tell the permission for a service by its configuration entry, which need
        not exist; the permission for a node only the agent tells, from its cache (30 s, `acl_token_ttl`).

        Raises:
            ConsulUnreachableError, ConsulRefusedError: The permission cannot be determined.
        """
        path, params = f"/v1/config/service-defaults/{urllib.parse.quote(name, safe='')}", [("dc", dc)] if dc else []
        if not await self._is_permitted(self._get(path, params)):
            return False
        if not nodes:
            return True
        asked = [{"Resource": "node", "Access": "read", "Segment": node} for node in nodes[:MAX_AUTHORIZE_REQUESTS]]
        post = self.api.http.post(
            parse_json, "/v1/internal/acl/authorize", data=json.dumps(asked), headers=self.api.prepare_headers()
        )
        try:
            answers = await self.call(post)
        except ConsulRefusedError as refused:
            if "ACL support disabled" in str(refused):
                return True
            raise
        return all(answer["Allow"] for answer in answers or ())

    async def may_read_key(self, path: str) -> bool:
        """Return True if the token may read a key; raise as `may_read_service`."""
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
        return self.api.http.get(parse or parse_json, path, params=params, headers=self.api.prepare_headers())

    def _put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.api.http.put(parse_json, path, data=json.dumps(body), headers=self.api.prepare_headers())


def compute_next_index(index: int, answered_index: int) -> int:
    """Return the index for the next blocking query; 0 if the server's index went backwards."""
    return answered_index if answered_index >= index else 0
