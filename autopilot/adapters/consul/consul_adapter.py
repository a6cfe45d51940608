"""The adapter: told every fact of this life, it keeps Consul informed, and reports what Consul says as cues.

It is there before the first job starts, so that it misses no fact; the HTTP client, which takes 0.3 s to load, is
loaded beside the running jobs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sized
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from autopilot.adapters.consul.connection_settings import ConsulSetupError, build_connection_settings
from autopilot.adapters.consul.desired_services import TELEMETRY_SERVICE, DesiredServices, LifeIdentity
from autopilot.adapters.consul.history_store import HistoryStore
from autopilot.machines import cues, events
from autopilot.runtime.script_loading import import_modules
from autopilot.spec.plan import Lock, Plan, Watch

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient
    from autopilot.adapters.consul.registrar import Registrar
    from autopilot.api.messages import ConsulStatus, RegisteredService, ScrapeTarget, WatchStatus

TARGETS_TIMEOUT_S = 5.0  # s for a question somebody waits for
LEAVE_TIMEOUT_S = 1.0  # s for the deregistration when this life ends
NOT_DEREGISTERED_CONDITION = "consul-left-behind"


class ConsulAdapter:
    """Made with a running loop. Nothing here is ever awaited by who tells, but for `leave`, which has its budget."""

    def __init__(
        self,
        plan: Plan,
        *,
        life: LifeIdentity,
        addresses: Mapping[str, str],
        env: Mapping[str, str],
        report: Callable[[cues.Cue], None],
        start_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        hide_in_maintenance: bool = False,
        desired_services: DesiredServices | None = None,
    ) -> None:
        """`addresses`: of each job with a port, and ("") of the supervisor itself; `offers`: what another Consul was
        offered before. Raises CannotUseConsul."""
        assert plan.consul is not None, "made for plans with Consul"
        missing = [module for module in ("aiohttp", "consul", "ifaddr") if find_spec(module) is None]
        if missing:
            remedy = "pip install condor-autopilot[consul]"
            raise ConsulSetupError(f"consul: cannot be used: not installed: {', '.join(missing)} ({remedy})")
        self._plan, self.connection_settings = plan, build_connection_settings(plan.consul, env)
        self._report, self._start_in_parent = report, start_task
        self._tasks: set[asyncio.Task[None]] = set()
        self._agent_job = plan.consul_agent.job if plan.consul_agent else None
        self.desired_services = desired_services or DesiredServices(
            plan, life, addresses, hide_in_maintenance=hide_in_maintenance
        )
        self._history_store = HistoryStore(life)
        self._registrar: Registrar | None = None
        self._client: ConsulClient | None = None
        self._loaded = asyncio.Event()
        self._locks = {lock.holder: lock for lock in plan.locks}
        self._permit_tasks: dict[str, asyncio.Task[None]] = {}
        self._query_tasks: list[asyncio.Task[None]] = []  # for others
        self._pending_queries: list[tuple[Literal["key", "keys", "service"], str, Callable[[Any], None]]] = []
        self._watch_tasks: dict[Watch, asyncio.Task[None]] = {}
        self._conditions: set[str] = set()
        self._not_deregistered_message = ""
        self._instance_counts = dict.fromkeys(plan.watches, 0)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._start_in_parent(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def begin(self) -> None:
        self._start_task(self._begin())

    async def _begin(self) -> None:
        await import_modules("consul.aio")
        from autopilot.adapters.consul.consul_client import ConsulClient
        from autopilot.adapters.consul.registrar import Registrar

        self._client = client = ConsulClient(self.connection_settings)
        self._start_task(self._history_store.write_and_purge(client, self._report_history_refused))
        self._registrar = Registrar(
            client, base_url=self.connection_settings.base_url, reporter=self, start_task=self._start_task
        )
        self._apply_desired(self.desired_services.ids)
        self._update_watches()
        self._loaded.set()
        while self._pending_queries:
            self._start_query(*self._pending_queries.pop())

    def apply_plan(self, plan: Plan, addresses: Mapping[str, str], healthy_jobs: Collection[str]) -> None:
        """Offer and watch what `plan` does from now on; `healthy`: the jobs that are so now."""
        self._plan = plan
        gone = self.desired_services.apply_plan(plan, addresses, healthy_jobs=healthy_jobs)
        self._instance_counts = {planned: self._instance_counts.get(planned, 0) for planned in plan.watches}
        if self._registrar is not None:
            for id in gone:
                self._registrar.set_desired(id, None)
            self._apply_desired(self.desired_services.ids)
            self._update_watches()

    def _update_watches(self) -> None:
        """Follow what the plan watches, and nothing else."""
        from autopilot.adapters.consul import blocking_query

        assert self._client is not None, "watched when it is loaded"
        for planned in self._watch_tasks.keys() - set(self._plan.watches):
            self._watch_tasks.pop(planned).cancel()
            self.clear_condition(f"consul-watch-{planned.name}")
        for planned in self._plan.watches:
            if planned in self._watch_tasks:
                continue
            blind = partial(self._update_read_condition, f"consul-watch-{planned.name}")
            if planned.key is None:
                service = blocking_query.build_service_query(
                    planned.name, tag=planned.tag, dc=planned.dc, interval=planned.interval
                )
                heard, refused = partial(self._report_watch, planned), partial(blind, "service", planned.name)
                look = blocking_query.run_blocking_query(service, self._client, heard, known=(), on_refused=refused)
            else:
                key = blocking_query.build_key_bytes_query(planned.key, dc=planned.dc, interval=planned.interval)
                heard, refused = partial(self._report_key_watch, planned), partial(blind, "key", planned.key)
                look = blocking_query.run_blocking_query(key, self._client, heard, known=None, on_refused=refused)
            self._watch_tasks[planned] = self._start_task(look)

    # --- told ---

    def on_event(self, event: events.Event) -> None:
        changed = self.desired_services.on_event(event, time.time())
        if isinstance(event, events.ShutdownBegun):
            self._history_store.record_end(event.reason, time.time())
        match event:
            case events.JobStarted(job) if job == self._agent_job and self.desired_services.deregistered:
                self.desired_services.deregistered, changed = False, self.desired_services.ids
            case events.JobStopping(job) if job == self._agent_job:
                self._start_task(self._deregister_before_agent_stop())
        self._apply_desired(changed)

    def _apply_desired(self, service_ids: Iterable[str]) -> None:
        if self._registrar is not None:
            for id in service_ids:
                self._registrar.set_desired(id, self.desired_services.compute_desired(id))

    async def _deregister_before_agent_stop(self) -> None:
        """An agent younger than 5 s that leaves with services comes back as a passing ghost."""
        await self.deregister_and_release()
        self._report(cues.Deregistered())

    async def deregister_and_release(self) -> None:
        """Take our services out and give our permits back, within a bound."""
        self.desired_services.deregistered = True
        if self._registrar is None:
            return
        self._apply_desired(self.desired_services.ids)
        held = list(self._permit_tasks.values())
        for holder in tuple(self._permit_tasks):
            self.release_permit(holder)
        released = asyncio.wait(held, timeout=LEAVE_TIMEOUT_S) if held else asyncio.sleep(0)
        leave, close = self._registrar.deregister_all(LEAVE_TIMEOUT_S), self._history_store.close(LEAVE_TIMEOUT_S)
        remaining, *_ = await asyncio.gather(leave, close, released)
        if remaining:
            within = f"cannot take out of Consul within {LEAVE_TIMEOUT_S:g} s"
            self._not_deregistered_message = f"{within}: {remaining}; it finds them critical after their TTL"
            self.raise_condition(NOT_DEREGISTERED_CONDITION, self._not_deregistered_message)

    async def end(self) -> None:
        """The end of this life: leave, and let go of all that is open."""
        await self.deregister_and_release()
        await self._close()

    def retire(self) -> Coroutine[Any, Any, None]:
        """Another Consul follows, or none: from now on this one tells nothing, and has no trouble. What is returned is
        `end`, to be awaited by somebody."""
        for task in (*self._watch_tasks.values(), *self._query_tasks):
            task.cancel()
        if self._registrar is None:  # nothing is there, and nothing may come any more
            self._cancel_tasks()
        for kind in tuple(self._conditions):
            self.clear_condition(kind)
        report, self._report = self._report, _ignore_cue
        return self._retire(report)

    async def _retire(self, report: Callable[[cues.Cue], None]) -> None:
        await self.end()
        for kind in self._conditions & {NOT_DEREGISTERED_CONDITION}:  # it is worth a line, and nobody can mend it
            report(cues.ConditionDetected(kind, self._not_deregistered_message))
            report(cues.ConditionResolved(kind))

    def _cancel_tasks(self) -> list[asyncio.Task[None]]:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    async def _close(self) -> None:
        await asyncio.gather(*self._cancel_tasks(), return_exceptions=True)
        if self._registrar is not None:
            self._registrar.close()
        if self._client is not None:
            await self._client.close()

    # --- limits between hosts ---

    def request_permit(self, holder: str, on_granted: Callable[[bool], None]) -> None:
        self._permit_tasks[holder] = self._start_task(self._hold_permit(self._locks[holder], on_granted))

    async def _hold_permit(self, lock: Lock, on_granted: Callable[[bool], None]) -> None:
        """Held until this task is cancelled."""
        await self._loaded.wait()
        from autopilot.adapters.consul.semaphore import Permit

        assert self._client is not None, "loaded"
        permit = Permit(lock, self._client, on_granted=on_granted)
        try:
            await permit.hold()
        finally:
            await permit.release(LEAVE_TIMEOUT_S)

    def release_permit(self, holder: str) -> None:
        task = self._permit_tasks.pop(holder, None)
        if task is not None:
            task.cancel()

    # --- reporting ---

    def raise_condition(self, kind: str, message: str) -> None:
        self._conditions.add(kind)
        self._report(cues.ConditionDetected(kind, message))

    def _report_history_refused(self, reason: str) -> None:
        said = f"Consul does not take the record of this life: {reason}; allow key_prefix autopilot/ to its token"
        self.raise_condition("consul-archive", said)

    def clear_condition(self, kind: str) -> None:
        if kind in self._conditions:
            self._conditions.remove(kind)
            self._report(cues.ConditionResolved(kind))

    def _report_watch(self, watch: Watch, instances: Sized) -> None:
        self._instance_counts[watch] = len(instances)
        self._report(cues.WatchChanged(watch.name, len(instances) > 0))

    def _report_key_watch(self, watch: Watch, value: bytes | None) -> None:
        self._report_watch(watch, () if value is None else (value,))

    def _update_read_condition(self, kind: str, resource_type: str, name: str, reason: str | None) -> None:
        """Consul does not let us look at a service, key or keys; None: it does again."""
        if reason is None:
            self.clear_condition(kind)
        else:
            allowed = "key_prefix" if resource_type == "keys" else resource_type
            said = f"Consul does not show the {resource_type} {name}: {reason}; what was known of it stays"
            self.raise_condition(kind, f'{said}; allow {allowed} "{name}" to its token')

    # --- followed for others ---

    def subscribe(self, kind: Literal["key", "keys", "service"], name: str, on_change: Callable[[Any], None]) -> None:
        """`changed` hears what Consul says of it, now and at each change."""
        if self._client is None:
            self._pending_queries.append((kind, name, on_change))
        else:
            self._start_query(kind, name, on_change)

    def _start_query(
        self, kind: Literal["key", "keys", "service"], name: str, on_change: Callable[[Any], None]
    ) -> None:
        from autopilot.adapters.consul import blocking_query

        assert self._client is not None, "followed when it is loaded"
        subject = {
            "key": blocking_query.build_key_text_query,
            "keys": blocking_query.build_prefix_query,
            "service": blocking_query.build_service_query,
        }[kind](name)
        refused = partial(self._update_read_condition, f"consul-{kind}-{name}", kind, name)
        self._query_tasks.append(
            self._start_task(blocking_query.run_blocking_query(subject, self._client, on_change, on_refused=refused))
        )

    # --- asked for by status ---

    def build_status(self) -> ConsulStatus:
        if self._registrar is None:
            return {"reachable": None, "services": [], "watches": []}
        services: list[RegisteredService] = [
            {
                "id": id,
                "name": state.desired.definition.name,
                "address": state.desired.definition.address,
                "port": state.desired.definition.port,
                "status": "maintenance" if state.desired.maintenance else state.desired.status,
            }
            for id, state in self._registrar.get_registered().items()
            if state.desired is not None
        ]
        watches: list[WatchStatus] = [
            {"name": watch.name, "instances": count} for watch, count in self._instance_counts.items()
        ]
        return {"reachable": self._registrar.reachable, "services": services, "watches": watches}

    async def list_targets(self) -> list[ScrapeTarget]:
        """Every telemetry port that Consul knows, as http_sd of Prometheus wants it. Raises ConnectionError."""
        from autopilot.adapters.consul.consul_client import ConsulRefusedError, ConsulUnreachableError
        from autopilot.adapters.consul.prometheus_targets import build_target

        if self._client is None:
            raise ConnectionError("Consul's client is not loaded yet")
        try:
            _, found = await self._client.call(
                self._client.api.health.service(TELEMETRY_SERVICE), timeout_s=TARGETS_TIMEOUT_S
            )
        except (ConsulUnreachableError, ConsulRefusedError) as error:
            raise ConnectionError(str(error)) from None
        return [build_target(entry) for entry in found]


def _ignore_cue(_cue: cues.Cue) -> None:
    pass
