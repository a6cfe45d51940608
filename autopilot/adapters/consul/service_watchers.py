"""Notice at once that the agent's entry of a service is not the registered one.

The first few services have a blocking query of their own at the agent, which answers at once when the service is
deregistered or redefined, and breaks when the agent dies. All further ones share a blocking query at the servers: it
tells that some service of the node has changed, and the agent's entries are compared then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from autopilot.adapters.consul import registration_state as r
from autopilot.adapters.consul.consul_client import ConsulClient, compute_next_index
from autopilot.adapters.consul.consul_errors import ConsulRefusedError, ConsulUnreachableError
from autopilot.adapters.consul.registration import RETRY_DELAY
from autopilot.runtime.observer_loop import Work

MAX_OWN_WATCHERS = 4  # an agent allows 200 connections from one address (limits.http_max_conns_per_client)
MIN_QUERY_DURATION_S = 1.0  # a query that breaks sooner is repeated after a delay
NODE_QUERY_INTERVAL_S = 0.25  # our own registrations answer the shared query too


@dataclass(slots=True)
class TrackedService:
    """The registration of a service, with flags to wait for."""

    registration: r.Registration
    registered: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # no call is in flight

    def __post_init__(self) -> None:
        self.set_registration(self.registration)

    def set_registration(self, registration: r.Registration) -> None:
        """Replace the registration and set the flags by it."""
        self.registration = registration
        for flag, holds in ((self.registered, registration.is_registered), (self.idle, registration.call is None)):
            flag.set() if holds else flag.clear()


class ServiceWatchers:
    """The queries that guard the services, which run until their tasks are cancelled."""

    def __init__(
        self,
        client: ConsulClient,
        *,
        services: Mapping[str, TrackedService],
        matches_agent: Callable[[str, Mapping[str, Any] | None], bool],
        on_agent_lost: Callable[[str], None],
        start_task: Callable[[Work], asyncio.Task[None]],
    ) -> None:
        """Prepare; `watch` begins.

        Args:
            client: The client of the agent.
            services: All services by id, also those that are added later.
            matches_agent: Compares a registered service with the agent's entry (None: there is none), tells the
                registration of a difference, and returns False then.
            on_agent_lost: Called with the reason when the agent cannot be reached.
            start_task: Starts a task that the owner ends.
        """
        self._client, self._services = client, services
        self._matches_agent, self._on_agent_lost, self._start_task = matches_agent, on_agent_lost, start_task

    def watch(self, id: str) -> None:
        """Guard the service that was added last."""
        if len(self._services) <= MAX_OWN_WATCHERS:
            self._start_task(partial(self._watch_service, id))
        elif len(self._services) == MAX_OWN_WATCHERS + 1:
            self._start_task(self._watch_node_services)

    async def _watch_service(self, id: str) -> None:
        loop = asyncio.get_running_loop()
        breaks = 0
        while True:
            await self._services[id].registered.wait()
            began_at = loop.time()
            try:
                await self._wait_for_difference(id)
            except ConsulUnreachableError as unreachable:
                self._on_agent_lost(str(unreachable))
            except ConsulRefusedError:
                pass  # the token may write the service but not read it: only heartbeats notice a difference
            breaks = breaks + 1 if loop.time() - began_at < MIN_QUERY_DURATION_S else 0
            if breaks > 1:
                await asyncio.sleep(RETRY_DELAY.compute(breaks, random.random()))

    async def _wait_for_difference(self, id: str) -> None:
        """Return when the service is not registered any more, or its registration has learned of a difference."""
        service, content_hash = self._services[id], ""
        while service.registered.is_set():
            entry = await self._client.get_service(id, content_hash=content_hash)
            if not service.idle.is_set():  # our own call may have caused the change: ask again after its answer
                await service.idle.wait()
            elif not service.registration.is_registered or not self._matches_agent(id, entry):
                return
            else:
                content_hash = str(entry and entry.get("ContentHash", ""))

    async def _watch_node_services(self) -> None:
        loop = asyncio.get_running_loop()
        index, failures, node = 0, 0, ""
        while True:
            began_at = loop.time()
            try:
                node = node or await self._client.find_node_name(next(iter(self._services)))
                new_index = await self._client.await_node_change(node, index)
                settled = [id for id, service in self._services.items() if _is_settled(service)]
                entries = await self._client.list_services()
                for id in settled:
                    if _is_settled(self._services[id]):
                        self._matches_agent(id, entries.get(id))
                index, failures = compute_next_index(index, new_index), 0
            except (ConsulUnreachableError, ConsulRefusedError):  # own watchers and heartbeats report the reason
                index, failures, node = 0, failures + 1, ""
                await self._client.wait_until_reachable(RETRY_DELAY.compute(failures, random.random()))
            await asyncio.sleep(max(0.0, began_at + NODE_QUERY_INTERVAL_S - loop.time()))


def _is_settled(service: TrackedService) -> bool:
    return service.registration.is_registered and service.registration.call is None
