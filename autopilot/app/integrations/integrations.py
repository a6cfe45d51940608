"""Prepare, reload and end all integrations of a life together.

They are made before the first job starts, so that they miss no event; their heavy libraries load beside the running
jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from autopilot.app.integrations.addresses import AddressBook, choose_addresses
from autopilot.app.integrations.consul_integration import ConsulIntegration
from autopilot.app.integrations.integration_context import IntegrationContext, has_integrations
from autopilot.app.integrations.telemetry_integration import TelemetryIntegration
from autopilot.app.integrations.template_integration import TemplateIntegration
from autopilot.spec.plan import Plan


class Integrations:
    """All integrations; sections that the plan does not have cost nothing."""

    def __init__(self, plan: Plan, context: IntegrationContext) -> None:
        self._plan = plan
        self.address_book = AddressBook(context.report)
        self.consul = ConsulIntegration(plan, context)
        self.telemetry = TelemetryIntegration(plan, context, self.address_book, self.consul.list_targets)
        self._templates = TemplateIntegration(context, self.consul)

    def prepare(self) -> None:
        """Make the adapters and render the templates, before the first job.

        Raises:
            IntegrationError: A section of the plan cannot be used on this host.
        """
        if not has_integrations(self._plan):
            return
        self.address_book.use(choose_addresses(self._plan))
        addresses = self.address_book.addresses
        if self._plan.consul is not None:
            self.address_book.advertise()
        self.consul.prepare(addresses)
        self._templates.prepare(self._plan)
        self.telemetry.prepare(addresses)

    def begin(self) -> None:
        """Load the libraries and connect, beside the running jobs."""
        self.consul.begin()
        self.telemetry.begin()

    def stage_plan(self, plan: Plan, healthy_jobs: Collection[str]) -> Callable[[], None]:
        """Check and prepare everything that `plan` needs, and change nothing yet.

        Args:
            plan: The new plan.
            healthy_jobs: Jobs that are healthy now.

        Returns:
            The function that follows `plan` from then on; it cannot fail.

        Raises:
            IntegrationError: A section of the plan cannot be used on this host.
        """
        choice = choose_addresses(plan)
        consul = self.consul.stage_plan(plan, choice.addresses)
        telemetry = self.telemetry.stage_plan(plan, choice.addresses)
        templates = self._templates.stage_plan(plan)

        def apply_plan() -> None:
            self._plan = plan
            self.address_book.use(choice)
            if plan.consul is not None:
                self.address_book.advertise()
            moved = self.consul.apply_plan(plan, consul, choice.addresses, healthy_jobs)
            self.telemetry.apply_plan(plan, telemetry)
            self._templates.apply_plan(plan, templates, consul_changed=moved)

        return apply_plan

    async def shut_down(self) -> None:
        """Leave Consul, within a time limit."""
        await self.consul.shut_down()
