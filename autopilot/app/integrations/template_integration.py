"""Render the plan's templates, and run a command after a file was written."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from autopilot.app.integrations.consul_integration import ConsulIntegration
from autopilot.app.integrations.integration_context import IntegrationContext, IntegrationError
from autopilot.machines.cues import ConditionDetected, ConditionResolved
from autopilot.spec.plan import Command, Plan, Template

if TYPE_CHECKING:
    from autopilot.adapters.templates.template_adapter import TemplateAdapter
    from autopilot.adapters.templates.template_rendering import Dependency

COMMAND_TIMEOUT_S = 60.0  # for the command after a template
CONSUL_CONDITION = "template-consul"


class TemplateIntegration:
    """The templates, with the values that they read from Consul."""

    def __init__(self, context: IntegrationContext, consul: ConsulIntegration) -> None:
        self._context, self._consul = context, consul
        self._adapter: TemplateAdapter | None = None
        self._lacks_consul = False  # a template reads from Consul, and the plan has none

    def prepare(self, plan: Plan) -> None:
        """Render all templates of the plan for the first time.

        Raises:
            IntegrationError: A template cannot be rendered.
        """
        self._adapter = self.stage_plan(plan)
        if self._adapter is not None:
            self._adapter.render_all()
            self._keep_files(plan, self._adapter)

    def stage_plan(self, plan: Plan) -> TemplateAdapter | None:
        """Return the adapter for `plan`: the present one, a new one, or None.

        Raises:
            IntegrationError: Templates cannot be used.
        """
        if self._adapter is not None or not plan.templates:
            return self._adapter
        from autopilot.adapters.templates.template_adapter import TemplateAdapter, TemplateSetupError

        try:
            return TemplateAdapter(
                plan.templates,
                env=self._context.life.env,
                report=self._context.report,
                on_written=self._start_command,
                subscribe=self._subscribe,
                on_moved=self._context.log_moved_file,
            )
        except TemplateSetupError as error:
            raise IntegrationError(str(error)) from None

    def apply_plan(self, plan: Plan, staged: TemplateAdapter | None, *, consul_changed: bool) -> None:
        """Use `staged` for `plan` from now on; with `consul_changed` all values are read anew."""
        self._adapter = staged
        if staged is not None:
            self._keep_files(plan, staged)
            lacked_consul, self._lacks_consul = self._lacks_consul, False
            staged.apply_plan(plan.templates, consul_changed=consul_changed or lacked_consul)
            if lacked_consul and not self._lacks_consul:
                self._context.report(ConditionResolved(CONSUL_CONDITION))

    def _keep_files(self, plan: Plan, adapter: TemplateAdapter) -> None:
        """Have the files made again that somebody removes; those of former templates may go."""
        for template in plan.templates:
            self._context.kept_files.keep(template.destination, partial(adapter.restore, template.destination))

    def _subscribe(self, dependency: Dependency) -> None:
        assert self._adapter is not None, "called by the adapter"
        update = partial(self._adapter.update_value, dependency)
        if not self._consul.subscribe(dependency.kind, dependency.name, update):
            self._lacks_consul = True
            problem = f"a template reads {dependency.kind}({dependency.name!r}), and there is no consul section"
            self._context.report(ConditionDetected(CONSUL_CONDITION, f"{problem}; the present file stays"))

    def _start_command(self, template: Template) -> None:
        if template.exec is not None:
            self._context.start_task("templates", self._run_command(template.destination, template.exec))

    async def _run_command(self, path: str, command: Command) -> None:
        done = await self._context.commands.run(command, timeout=COMMAND_TIMEOUT_S, name="template")
        if done.status:
            problem = f"the command after {path} was written ended with status {done.status}: {done.output[-500:]}"
            self._context.report(ConditionDetected("template-exec", problem))
