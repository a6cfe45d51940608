"""Follow the keys and services that templates use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.runtime.observer_loop import Work

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient

ResourceType = Literal["key", "keys", "service"]


class Subscriptions:
    """Subscriptions, with a blocking query for each; those made before the client is loaded wait for it."""

    def __init__(
        self,
        *,
        conditions: ConditionReporter,
        start_task: Callable[[Work], asyncio.Task[None]],
    ) -> None:
        self._conditions, self._start_task = conditions, start_task
        self._pending: list[tuple[ResourceType, str, Callable[[Any], None]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._client: ConsulClient | None = None

    def begin(self, client: ConsulClient) -> None:
        """Start the queries."""
        self._client = client
        while self._pending:
            self.subscribe(*self._pending.pop())

    def subscribe(self, resource_type: ResourceType, name: str, on_change: Callable[[Any], None]) -> None:
        """Call `on_change` with the current content and with each later one.

        The content is a key's text or None, the texts below a prefix, or the healthy instances of a service.
        """
        if self._client is None:
            self._pending.append((resource_type, name, on_change))
            return
        from autopilot.adapters.consul import blocking_query as bq

        builders = {
            "key": bq.build_key_text_query,
            "keys": bq.build_prefix_query,
            "service": bq.build_service_query,
        }
        kind = f"consul-{resource_type}-{name}"
        on_refused = bq.build_refusal_handler(self._conditions, kind, resource_type, name)
        query = builders[resource_type](name)
        task = self._start_task(partial(bq.run_blocking_query, query, self._client, on_change, on_refused=on_refused))
        self._tasks.append(task)

    def cancel(self) -> None:
        """Cancel all queries."""
        for task in self._tasks:
            task.cancel()
