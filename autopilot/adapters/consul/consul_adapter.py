"""Connect this life to Consul: every event goes to the services it offers, Consul's changes come back as cues.

The adapter exists before the first job starts, so that it misses no event; the HTTP client, which takes 0.3 s to
import, is loaded while the jobs run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.adapters.consul.connection_settings import ConsulSetupError, build_connection_settings
from autopilot.adapters.consul.desired_services import DesiredServices
from autopilot.adapters.consul.fleet_entry import KEY_PREFIX, FleetEntry
from autopilot.adapters.consul.history_store import HistoryStore
from autopilot.adapters.consul.permits import Permits
from autopilot.adapters.consul.subscriptions import ResourceType, Subscriptions
from autopilot.adapters.consul.watches import Watches
from autopilot.errors import REINSTALL_REMEDY
from autopilot.machines import cues, events
from autopilot.runtime.observer_loop import Work
from autopilot.runtime.script_loading import import_modules
from autopilot.spec.plan import Plan

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_client import ConsulClient
    from autopilot.adapters.consul.registrar import Registrar
    from autopilot.api.messages import ConsulStatus, ScrapeTarget

DEREGISTER_TIMEOUT_S = 1.0  # for the deregistration at the end of this life
NOT_DEREGISTERED_CONDITION = "consul-left-behind"


class ConsulAdapter:
    """The connection to one Consul agent; made inside a running event loop.

    Its methods return at once, except `deregister_and_release` and `end`, which have a time limit.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        env: Mapping[str, str],
        desired_services: DesiredServices,
        report: Callable[[cues.Cue], None],
        start_task: Callable[[Work], asyncio.Task[None]],
    ) -> None:
        """Prepare; `begin` connects.

        Args:
            plan: A plan with a `consul` section.
            env: The environment, which completes that section.
            desired_services: The services that this life offers, already with their current state.
            report: Takes the cues.
            start_task: Starts a task whose failure the caller handles.

        Raises:
            ConsulSetupError: A library is not installed, or a setting cannot be used.
        """
        assert plan.consul is not None, "made for plans with Consul"
        missing = [module for module in ("consul", "ifaddr") if find_spec(module) is None]
        if missing:
            sentence = f"consul: cannot be used: not installed: {', '.join(missing)} ({REINSTALL_REMEDY})"
            raise ConsulSetupError(sentence)
        self.connection_settings = build_connection_settings(plan.consul, env)
        self.desired_services = desired_services
        self._report_cue, self._start_in_parent = report, start_task
        self._retired = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._agent_job = plan.consul_agent.job if plan.consul_agent else None
        self._history_store = HistoryStore(desired_services.life)
        self._fleet_entry = FleetEntry(desired_services.life.meta.get("life") or desired_services.life.hostname)
        self._registrar: Registrar | None = None
        self._client: ConsulClient | None = None
        self._loaded = asyncio.Event()
        self.conditions = ConditionReporter(self._report)
        self.permits = Permits(
            plan.locks,
            get_client=self._wait_for_client,
            conditions=self.conditions,
            report=self._report,
            start_task=self._start_task,
        )
        self._subscriptions = Subscriptions(conditions=self.conditions, start_task=self._start_task)
        self._watches = Watches(
            plan.watches, conditions=self.conditions, report=self._report, start_task=self._start_task
        )

    def _start_task(self, work: Work) -> asyncio.Task[None]:
        task = self._start_in_parent(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _report(self, cue: cues.Cue) -> None:
        if not self._retired:
            self._report_cue(cue)

    # --- from the first job to a new plan ---

    def begin(self) -> None:
        """Load the client, then register, watch and follow."""
        self._start_task(self._begin())

    async def _begin(self) -> None:
        await import_modules("autopilot.adapters.consul.consul_client")
        from autopilot.adapters.consul.consul_client import ConsulClient
        from autopilot.adapters.consul.registrar import Registrar

        self._client = client = ConsulClient(self.connection_settings)
        self._start_task(self._history_store.write_and_purge(client, self._report_history_refused))
        self._registrar = Registrar(
            client,
            base_url=self.connection_settings.base_url,
            conditions=self.conditions,
            start_task=self._start_task,
            agent_starts_with_us=self._agent_job is not None,
        )
        self._apply_desired(self.desired_services.ids)
        self._start_task(
            partial(
                self._fleet_entry.follow,
                client,
                on_result=self._report_entry_result,
                on_lost=self._registrar.handle_agent_loss,
            )
        )
        self._watches.begin(client)
        self._loaded.set()
        self._subscriptions.begin(client)

    async def _wait_for_client(self) -> ConsulClient:
        await self._loaded.wait()
        assert self._client is not None, "loaded"
        return self._client

    def apply_plan(self, plan: Plan, addresses: Mapping[str, str], healthy_jobs: Collection[str]) -> None:
        """Offer the services and follow the watches of another plan from now on.

        Args:
            plan: The new plan.
            addresses: The address of each job with a port, and that of the telemetry port under "".
            healthy_jobs: The jobs that are healthy now.
        """
        removed = self.desired_services.apply_plan(plan, addresses, healthy_jobs=healthy_jobs)
        if self._registrar is not None:
            for id in removed:
                self._registrar.set_desired(id, None)
            self._apply_desired(self.desired_services.ids)
        self._watches.apply_plan(plan.watches)

    def on_event(self, event: events.Event) -> None:
        """Update the offered services."""
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
            self._fleet_entry.set_record(self.desired_services.build_fleet_record())

    def subscribe(self, resource_type: ResourceType, name: str, on_change: Callable[[Any], None]) -> None:
        """Call `on_change` with the current content of a key, a prefix or a service, and with each later one."""
        self._subscriptions.subscribe(resource_type, name, on_change)

    def request_permit(self, holder: str, on_granted: Callable[[bool], None]) -> None:
        """Contend for the permit of a holder; `on_granted` is called once, with False if granted without Consul."""
        self.permits.request(holder, on_granted)

    def release_permit(self, holder: str) -> None:
        """Release the permit of a holder, if it has or requests one."""
        self.permits.release(holder)

    def _report_history_refused(self, reason: str) -> None:
        problem = f"Consul refuses the record of this life: {reason}; `autopilot history` will not show it"
        remedy = 'allow its token key_prefix "autopilot/lives/" (write)'
        self.conditions.raise_condition("consul-archive", f"{problem}; {remedy}")

    def _report_entry_result(self, reason: str) -> None:
        if not reason:
            self.conditions.clear_condition("consul-fleet")
            return
        problem = f"Consul refuses the entry of this life: {reason}; `autopilot fleet` will not show it"
        remedy = f'allow its token key_prefix "{KEY_PREFIX}" and its node\'s session_prefix (write)'
        self.conditions.raise_condition("consul-fleet", f"{problem}; {remedy}, or set consul.own_service to false")

    # --- the end ---

    async def _deregister_before_agent_stop(self) -> None:
        """Deregister first: services of an agent younger than 5 s would be passing again after its stop."""
        await self.deregister_and_release()
        self._report(cues.Deregistered())

    async def deregister_and_release(self) -> str:
        """Deregister all services and release all permits within DEREGISTER_TIMEOUT_S.

        Returns:
            The sentence of the condition that services may still be registered, "" if there is none.
        """
        self.desired_services.deregistered = True
        if self._registrar is None:
            return ""
        self._apply_desired(self.desired_services.ids)
        remaining, *_ = await asyncio.gather(
            self._registrar.deregister_all(DEREGISTER_TIMEOUT_S),
            self._history_store.close(DEREGISTER_TIMEOUT_S),
            self._fleet_entry.remove(DEREGISTER_TIMEOUT_S),
            self.permits.release_all(),
        )
        if not remaining:
            return ""
        problem = f"cannot deregister from Consul within {DEREGISTER_TIMEOUT_S:g} s: {', '.join(remaining)}"
        message = f"{problem}; Consul marks them critical after their TTL"
        self.conditions.raise_condition(NOT_DEREGISTERED_CONDITION, message)
        return message

    async def end(self) -> str:
        """Deregister, end all tasks and close the connection; return as `deregister_and_release`."""
        message = await self.deregister_and_release()
        await asyncio.gather(*self._cancel_tasks(), return_exceptions=True)
        if self._registrar is not None:
            self._registrar.close()
        if self._client is not None:
            self._client.close()
        return message

    def retire(self) -> Coroutine[Any, Any, None]:
        """Make way for another Consul: report nothing from now on, and clear all conditions.

        Returns:
            The coroutine that deregisters and closes the connection; the caller runs it.
        """
        self._watches.cancel()
        self._subscriptions.cancel()
        if self._registrar is None:  # not loaded yet, and must not be any more
            self._cancel_tasks()
        self.conditions.clear_all()
        self._retired = True
        return self._retire()

    async def _retire(self) -> None:
        message = await self.end()
        if message:  # worth a line in the log, but no condition that an operator could mend
            self._report_cue(cues.ConditionDetected(NOT_DEREGISTERED_CONDITION, message))
            self._report_cue(cues.ConditionResolved(NOT_DEREGISTERED_CONDITION))

    def _cancel_tasks(self) -> list[asyncio.Task[None]]:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    # --- status ---

    def build_status(self) -> ConsulStatus:
        """Return the `consul` section of `autopilot status`."""
        if self._registrar is None:
            return {"reachable": None, "services": [], "watches": []}
        return {
            "reachable": self._registrar.is_reachable,
            "services": self._registrar.build_service_status(),
            "watches": self._watches.build_status(),
        }

    async def list_targets(self) -> list[ScrapeTarget]:
        """Return all telemetry ports registered in Consul, as Prometheus's http_sd expects them.

        Raises:
            ConnectionError: Consul cannot be reached, or refuses.
        """
        from autopilot.adapters.consul import prometheus_targets

        if self._client is None:
            raise ConnectionError("Consul's client is not loaded yet")
        return await prometheus_targets.list_targets(self._client)
