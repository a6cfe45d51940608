"""Open the telemetry port, and collect the values that it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from autopilot.app.integrations.addresses import SUPERVISOR_KEY, AddressBook
from autopilot.app.integrations.integration_context import IntegrationContext, IntegrationError
from autopilot.machines.core import Effect
from autopilot.spec.plan import Plan

if TYPE_CHECKING:
    from autopilot.adapters.telemetry.containerpilot_status import Service
    from autopilot.adapters.telemetry.life_figures import LifeFigures
    from autopilot.adapters.telemetry.telemetry_adapter import TelemetryAdapter
    from autopilot.api.messages import ScrapeTarget, Status


class TelemetryIntegration:
    """The telemetry port; a reload may add, move or remove it. Also the source of the values that it serves."""

    def __init__(
        self,
        plan: Plan,
        context: IntegrationContext,
        address_book: AddressBook,
        list_targets: Callable[[], Awaitable[Sequence[ScrapeTarget]]],
    ) -> None:
        self._plan, self._context, self._address_book, self._list_targets = plan, context, address_book, list_targets
        self._adapter: TelemetryAdapter | None = None

    # --- the plan ---

    def prepare(self, addresses: Mapping[str, str]) -> None:
        """Make the adapter, if the plan has the section.

        Raises:
            IntegrationError: The port cannot be used.
        """
        self._adapter = self.stage_plan(self._plan, addresses)

    def stage_plan(self, plan: Plan, addresses: Mapping[str, str]) -> TelemetryAdapter | None:
        """Return the adapter for `plan`: the present one, a new one, or None.

        Raises:
            IntegrationError: The port cannot be used.
        """
        if plan.telemetry is None:
            return None
        if self._adapter is not None:
            return self._adapter
        from autopilot.adapters.telemetry.telemetry_adapter import TelemetryAdapter, TelemetrySetupError

        metadata = self._context.life.build_metadata()
        try:
            return TelemetryAdapter(
                plan.telemetry,
                address=addresses[SUPERVISOR_KEY],
                metadata={key.replace("-", "_"): value for key, value in metadata.items()},
                status_source=self,
                report=self._context.report,
                start_task=partial(self._context.start_task, "telemetry"),
            )
        except TelemetrySetupError as error:
            raise IntegrationError(str(error)) from None

    def apply_plan(self, plan: Plan, staged: TelemetryAdapter | None) -> None:
        """Use `staged` for `plan` from now on."""
        before, self._adapter, self._plan = self._adapter, staged, plan
        if staged is None:
            if before is not None:
                before.close()
        elif plan.telemetry is not None:
            staged.apply_plan(plan.telemetry, address=self._address_book.addresses[SUPERVISOR_KEY])
            if before is None:
                staged.begin()

    # --- the life ---

    def begin(self) -> None:
        """Load the metrics and open the port, beside the running jobs."""
        if self._adapter is not None:
            self._adapter.begin()

    def on_effect(self, effect: Effect) -> None:
        """Pass `effect` to the metrics and the status page."""
        if self._adapter is not None:
            self._adapter.on_effect(effect)

    def record_answer(self, status: int, path: str) -> None:
        """Count an answered request on the control socket."""
        if self._adapter is not None:
            self._adapter.record_answer(status, path)

    def set_metric(self, name: str, value: object) -> None:
        """Set a metric of the jobs.

        Raises:
            ValueError: There is no such metric, or it does not take this value.
        """
        if self._adapter is None:
            raise ValueError("there is no telemetry section")
        self._adapter.set_metric(name, value)

    # --- the source of the port's values ---

    def get_status(self) -> Status:
        """Return the answer of `autopilot status`."""
        return self._context.get_status()

    def get_figures(self) -> LifeFigures:
        """Return the figures of this life that no event tells."""
        return self._context.get_figures()

    def list_services(self) -> list[Service]:
        """Return the services that ContainerPilot's /status lists: jobs with a port, and the telemetry port."""
        from autopilot.adapters.service_names import TELEMETRY_SERVICE
        from autopilot.adapters.telemetry.containerpilot_status import Service

        addresses = self._address_book.addresses
        services = [
            Service(job.name, addresses.get(job.name, ""), job.service.port)
            for job in self._plan.jobs
            if job.service is not None
        ]
        if self._plan.telemetry is not None:
            services.append(Service(TELEMETRY_SERVICE, addresses[SUPERVISOR_KEY], self._plan.telemetry.port))
        return services

    async def list_targets(self) -> Sequence[ScrapeTarget]:
        """Return the targets for http_sd of Prometheus.

        Raises:
            RequestError: They are not known.
        """
        return await self._list_targets()
