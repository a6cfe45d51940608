"""Follow the services and keys that the plan watches, and report their changes as cues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sized
from functools import partial
from typing import TYPE_CHECKING, Any

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.machines import cues
from autopilot.runtime.observer_loop import Work
from autopilot.spec.plan import Watch

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient
    from autopilot.api.messages import WatchStatus


class Watches:
    """Watches of the plan, with a blocking query for each."""

    def __init__(
        self,
        planned: Iterable[Watch],
        *,
        conditions: ConditionReporter,
        report: Callable[[cues.Cue], None],
        start_task: Callable[[Work], asyncio.Task[None]],
    ) -> None:
        self._conditions, self._report, self._start_task = conditions, report, start_task
        self._instance_counts = dict.fromkeys(planned, 0)
        self._tasks: dict[Watch, asyncio.Task[None]] = {}
        self._client: ConsulClient | None = None

    def begin(self, client: ConsulClient) -> None:
        """Start the queries."""
        self._client = client
        self._update_queries(client)

    def apply_plan(self, planned: Iterable[Watch]) -> None:
        """Follow these watches from now on; a watch that stays keeps its state and its query."""
        self._instance_counts = {watch: self._instance_counts.get(watch, 0) for watch in planned}
        if self._client is not None:
            self._update_queries(self._client)

    def cancel(self) -> None:
        """Cancel all queries."""
        for task in self._tasks.values():
            task.cancel()

    def build_status(self) -> list[WatchStatus]:
        """Return the watches with their numbers of healthy instances, as `autopilot status` shows them."""
        return [{"name": watch.name, "instances": count} for watch, count in self._instance_counts.items()]

    def _update_queries(self, client: ConsulClient) -> None:
        for watch in self._tasks.keys() - self._instance_counts.keys():
            self._tasks.pop(watch).cancel()
            self._conditions.clear_condition(_build_condition_kind(watch))
        for watch in self._instance_counts:
            if watch not in self._tasks:
                self._tasks[watch] = self._start_task(partial(self._follow, watch, client))

    def _follow(self, watch: Watch, client: ConsulClient) -> Coroutine[Any, Any, None]:
        from autopilot.adapters.consul import blocking_query as bq

        kind = _build_condition_kind(watch)
        if watch.key is None:
            service = bq.build_service_query(watch.name, tag=watch.tag, dc=watch.dc, interval=watch.interval)
            on_refused = bq.build_refusal_handler(self._conditions, kind, "service", watch.name)
            on_change = partial(self._report_instances, watch)
            return bq.run_blocking_query(service, client, on_change, known=(), on_refused=on_refused)
        key = bq.build_key_bytes_query(watch.key, dc=watch.dc, interval=watch.interval)
        on_refused = bq.build_refusal_handler(self._conditions, kind, "key", watch.key)
        return bq.run_blocking_query(key, client, partial(self._report_key, watch), known=None, on_refused=on_refused)

    def _report_instances(self, watch: Watch, instances: Sized) -> None:
        self._instance_counts[watch] = len(instances)
        self._report(cues.WatchChanged(watch.name, len(instances) > 0))

    def _report_key(self, watch: Watch, value: bytes | None) -> None:
        self._report_instances(watch, () if value is None else (value,))


def _build_condition_kind(watch: Watch) -> str:
    return f"consul-watch-{watch.name}"
