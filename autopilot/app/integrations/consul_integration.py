"""Register the life's services in Consul, and ask Consul for permits and other containers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from autopilot.app.integrations.addresses import SUPERVISOR_KEY
from autopilot.app.integrations.integration_context import IntegrationContext, IntegrationError
from autopilot.machines.events import Event
from autopilot.spec.plan import Plan

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_adapter import ConsulAdapter
    from autopilot.api.messages import ConsulStatus, ScrapeTarget


class ConsulIntegration:
    """The connection to Consul; a reload may add, move or remove it. Also the issuer of permits (locks)."""

    def __init__(self, plan: Plan, context: IntegrationContext) -> None:
        self._plan, self._context = plan, context
        self._adapter: ConsulAdapter | None = None
        self.lock_holders = frozenset(lock.holder for lock in plan.locks)

    # --- the plan ---

    def prepare(self, addresses: Mapping[str, str]) -> None:
        """Make the adapter, and write the files of Consul's agent if it is a job.

        Args:
            addresses: By job name, and by SUPERVISOR_KEY.

        Raises:
            IntegrationError: Consul cannot be used.
        """
        if self._plan.consul is not None:
            self._adapter = self._build_adapter(self._plan, addresses)
        if self._plan.consul_agent is not None:
            self._write_agent_files(addresses[SUPERVISOR_KEY])

    def stage_plan(self, plan: Plan, addresses: Mapping[str, str]) -> ConsulAdapter | None:
        """Return the adapter for `plan`: the present one, or a new one for another Consul.

        Raises:
            IntegrationError: Consul cannot be used.
        """
        if plan.consul == self._plan.consul:
            return self._adapter
        return None if plan.consul is None else self._build_adapter(plan, addresses)

    def apply_plan(
        self, plan: Plan, staged: ConsulAdapter | None, addresses: Mapping[str, str], healthy_jobs: Collection[str]
    ) -> bool:
        """Use `staged` for `plan` from now on.

        Returns:
            True when another Consul is used than before.
        """
        moved = staged is not self._adapter
        if moved and self._adapter is not None:
            self._context.start_task("consul", self._adapter.retire())
        self._plan, self._adapter = plan, staged
        if staged is not None:
            staged.apply_plan(plan, addresses, healthy_jobs)
            if moved:
                staged.begin()
        return moved

    def _build_adapter(self, plan: Plan, addresses: Mapping[str, str]) -> ConsulAdapter:
        """Return an adapter that offers the services of the present one, if there is one."""
        from autopilot.adapters.consul.connection_settings import ConsulSetupError  # loaded only when used
        from autopilot.adapters.consul.consul_adapter import ConsulAdapter
        from autopilot.adapters.consul.desired_services import DesiredServices, LifeIdentity

        life = self._context.life
        if self._adapter is not None:
            desired = self._adapter.desired_services.copy_for_new_consul()
        else:
            identity = LifeIdentity(life.container_info.hostname, life.build_metadata(), time.time())
            desired = DesiredServices(plan, identity, addresses, containerpilot=life.containerpilot)
        try:
            return ConsulAdapter(
                plan,
                env=life.env,
                desired_services=desired,
                report=self._context.report,
                start_task=partial(self._context.start_task, "consul"),
            )
        except ConsulSetupError as error:
            raise IntegrationError(str(error)) from None

    def _write_agent_files(self, bind_address: str) -> None:
        from autopilot.app import agent_job

        assert self._adapter is not None, "an agent comes with the section that reaches it"
        try:
            agent_job.write_agent_files(
                self._plan,
                self._context.life,
                bind_address=bind_address,
                access=self._adapter.connection_settings,
                on_moved=self._context.log_moved_file,
                kept_files=self._context.kept_files,
            )
        except OSError as error:
            directory = self._context.life.state_directory
            raise IntegrationError(f"consul_agent: cannot write into {directory}: {error.strerror}") from None

    # --- the life ---

    def begin(self) -> None:
        """Load the client and register, beside the running jobs."""
        if self._adapter is not None:
            self._adapter.begin()

    def on_event(self, event: Event) -> None:
        """Pass `event` to Consul's registration."""
        if self._adapter is not None:
            self._adapter.on_event(event)

    async def shut_down(self) -> None:
        """Deregister and close, within a time limit."""
        if self._adapter is not None:
            await self._adapter.end()

    # --- requests ---

    def request_permit(self, holder: str, on_granted: Callable[[bool], None]) -> None:
        """Call `on_granted` as soon as `holder` may run; its argument is False when Consul could not be asked."""
        assert self._adapter is not None, "locks come with Consul"
        self._adapter.request_permit(holder, on_granted)

    def release_permit(self, holder: str) -> None:
        """Give the permit of `holder` back, if it has one."""
        if holder in self.lock_holders and self._adapter is not None:
            self._adapter.release_permit(holder)

    def subscribe(self, kind: Literal["key", "keys", "service"], name: str, on_value: Callable[[Any], None]) -> bool:
        """Call `on_value` with each new value of a key or service.

        Returns:
            False when the plan has no Consul.
        """
        if self._adapter is None:
            return False
        self._adapter.subscribe(kind, name, on_value)
        return True

    def build_status(self) -> ConsulStatus | None:
        """Return the section `consul` of `autopilot status`; None without one in the job spec."""
        return None if self._adapter is None else self._adapter.build_status()

    async def list_targets(self) -> Sequence[ScrapeTarget]:
        """Return the targets for http_sd of Prometheus.

        Raises:
            RequestError: There is no Consul (404), or it does not answer (503).
        """
        from autopilot.adapters.http_server import RequestError

        if self._adapter is None:
            raise RequestError(404, "there is no consul section, so nothing is known of other containers")
        try:
            return await self._adapter.list_targets()
        except ConnectionError as error:
            raise RequestError(503, f"cannot ask Consul: {error}") from None
