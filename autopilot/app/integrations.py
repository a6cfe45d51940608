"""Who is told of this life outside: Consul and the telemetry port, as far as the plan has them.

Made before the first job starts, so that no fact is missed; what is heavy in them loads beside the running jobs.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopilot import __version__
from autopilot.app import service_addresses
from autopilot.app.container_info import ContainerInfo
from autopilot.machines.core import Effect
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue
from autopilot.machines.events import Event
from autopilot.runtime.command_runner import CommandRunner
from autopilot.spec import plan as plans

if TYPE_CHECKING:
    from autopilot.adapters.consul.consul_adapter import ConsulAdapter
    from autopilot.adapters.telemetry.containerpilot_status import Service
    from autopilot.adapters.telemetry.telemetry_adapter import TelemetryAdapter
    from autopilot.adapters.templates.template_adapter import TemplateAdapter
    from autopilot.adapters.templates.template_rendering import Dependency

COMMAND_TIMEOUT_S = 60.0  # s for the command after a template

Background = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class IntegrationError(Exception):
    """The plan asks for what cannot be: one sentence with the remedy."""


class Integrations:
    def __init__(
        self,
        plan: plans.Plan,
        *,
        state: Path,
        container_info: ContainerInfo,
        life: str,
        env: Mapping[str, str],
        report: Callable[[Cue], None],
        background: Background,
        get_status: Callable[[], Mapping[str, Any]],
        get_counts: Callable[[], tuple[int, int]],
        commands: CommandRunner,
        containerpilot: bool,
    ) -> None:
        """`look` gives what `autopilot status` shows, `counts` the shell's own."""
        self._plan, self._state, self._container_info, self._life, self._env = plan, state, container_info, life, env
        self._report, self._start_task, self._get_status, self.get_counts, self._commands = (
            report,
            background,
            get_status,
            get_counts,
            commands,
        )
        self._containerpilot = containerpilot
        self._addresses: dict[str, str] = {}
        self._missing_addresses: dict[str, str] = {}  # jobs without an address
        self.lock_holders = frozenset(lock.holder for lock in plan.locks)
        self._address_environment: dict[str, str] = {}
        self._consul: ConsulAdapter | None = None
        self._telemetry: TelemetryAdapter | None = None
        self._templates: TemplateAdapter | None = None
        self._templates_lack_consul = False  # a template looks at Consul, and there is none

    def prepare(self) -> None:
        """Before the first job. Raises CannotReachOut."""
        if not _has_integrations(self._plan):
            return
        self._addresses, lacking = self._choose_addresses(self._plan)
        self._report_missing_addresses(lacking)
        about = _build_metadata(self._container_info, self._life)
        if self._plan.consul is not None:
            self._consul = self._connect_consul(self._plan)
            self._update_address_environment()
        if self._plan.consul_agent is not None:
            self._prepare_agent(about)
        if self._plan.templates:
            self._templates = self._create_templates(self._plan.templates)
            self._templates.render_all()
        if self._plan.telemetry is not None:
            self._telemetry = self._open_telemetry(about, self._plan.telemetry)

    def apply_plan(self, plan: plans.Plan, healthy: Collection[str]) -> None:
        """Tell of `plan` from now on; `healthy`: the jobs that are so. Raises CannotReachOut, with all as it was."""
        elsewhere = plan.consul != self._plan.consul
        before = self._addresses
        self._addresses, lacking = self._choose_addresses(plan) if _has_integrations(plan) else ({}, {})
        consul, telemetry, templates = self._consul, self._telemetry, self._templates
        try:
            if elsewhere:
                consul = None if plan.consul is None else self._connect_consul(plan)
            if plan.telemetry is not None and telemetry is None:
                telemetry = self._open_telemetry(_build_metadata(self._container_info, self._life), plan.telemetry)
            if plan.templates and templates is None:
                templates = self._create_templates(plan.templates)
        except IntegrationError:
            self._addresses = before
            raise
        # nothing below can fail
        self._report_missing_addresses(lacking)
        if elsewhere and self._consul is not None:
            self._start_task(self._consul.retire())
        self._plan, self._consul, self._templates = plan, consul, templates
        if consul is not None:
            self._update_address_environment()
            consul.apply_plan(plan, self._addresses, healthy)
            if elsewhere:
                consul.begin()
        if telemetry is not None and plan.telemetry is None:
            telemetry.close()
        elif telemetry is not None and plan.telemetry is not None:
            telemetry.apply_plan(plan.telemetry, address=self._addresses[service_addresses.SUPERVISOR_KEY])
            if self._telemetry is None:
                telemetry.begin()
        self._telemetry = telemetry if plan.telemetry is not None else None
        if templates is not None:
            unasked, self._templates_lack_consul = self._templates_lack_consul, False
            templates.apply_plan(plan.templates, consul_changed=elsewhere or unasked)
            if unasked and not self._templates_lack_consul:
                self._report(ConditionResolved("template-consul"))

    def _choose_addresses(self, plan: plans.Plan) -> tuple[dict[str, str], dict[str, str]]:
        try:
            return service_addresses.choose_addresses(plan)
        except ImportError as error:
            raise IntegrationError(
                f"consul, telemetry: cannot be used: not installed: {error.name} ({INSTALL_REMEDY})"
            ) from None

    def _report_missing_addresses(self, missing: dict[str, str]) -> None:
        """Of jobs that have no address, and of those that have one again."""
        for job, said in missing.items():
            self._report(ConditionDetected(f"address-{job}", said))
        for job in self._missing_addresses.keys() - missing.keys():
            self._report(ConditionResolved(f"address-{job}"))
        self._missing_addresses = missing

    def _update_address_environment(self) -> None:
        named = {job: ip for job, ip in self._addresses.items() if job and ip}
        self._address_environment = {f"CONTAINERPILOT_{format_env_name(job)}_IP": ip for job, ip in named.items()}

    def _connect_consul(self, plan: plans.Plan) -> ConsulAdapter:
        """Offered what an earlier one was."""
        from autopilot.adapters.consul.connection_settings import ConsulSetupError  # loaded by those who use it
        from autopilot.adapters.consul.consul_adapter import ConsulAdapter
        from autopilot.adapters.consul.desired_services import DesiredServices, LifeIdentity

        if self._consul is None:
            metadata = _build_metadata(self._container_info, self._life)
            life = LifeIdentity(self._container_info.hostname, metadata, time.time())
            desired_services = DesiredServices(plan, life, self._addresses, hide_in_maintenance=self._containerpilot)
        else:
            desired_services = self._consul.desired_services.copy_for_new_consul()
        try:
            return ConsulAdapter(
                plan,
                env=self._env,
                desired_services=desired_services,
                report=self._report,
                start_task=self._start_task,
            )
        except ConsulSetupError as cannot:
            raise IntegrationError(str(cannot)) from None

    def _prepare_agent(self, metadata: Mapping[str, str]) -> None:
        from autopilot.app import agent_job

        assert self._consul is not None, "an agent comes with the section that reaches it"
        bind = self._addresses[service_addresses.SUPERVISOR_KEY]
        try:
            agent_job.write_agent_files(
                self._plan,
                self._state,
                container_info=self._container_info,
                bind=bind,
                metadata=metadata,
                access=self._consul.connection_settings,
            )
        except OSError as error:
            raise IntegrationError(f"consul_agent: cannot write into {self._state}: {error.strerror}") from None

    def _create_templates(self, plan: tuple[plans.Template, ...]) -> TemplateAdapter:
        from autopilot.adapters.templates.template_adapter import TemplateAdapter, TemplateSetupError

        try:
            return TemplateAdapter(
                plan,
                env=self._env,
                report=self._report,
                on_written=self._start_template_command,
                subscribe=self._watch_dependency,
            )
        except TemplateSetupError as cannot:
            raise IntegrationError(str(cannot)) from None

    def _watch_dependency(self, need: Dependency) -> None:
        assert self._templates is not None, "asked by the templates"
        if self._consul is not None:
            self._consul.subscribe(need.kind, need.name, partial(self._templates.update_value, need))
        else:
            self._templates_lack_consul = True
            said = f"a template looks at {need.kind}({need.name!r}), and there is no consul section"
            self._report(ConditionDetected("template-consul", f"{said}; the file that is there stays"))

    def _start_template_command(self, template: plans.Template) -> None:
        if template.exec is not None:
            self._start_task(self._run_template_command(template.destination, template.exec))

    async def _run_template_command(self, path: str, command: plans.Command) -> None:
        done = await self._commands.run(command, timeout=COMMAND_TIMEOUT_S, name="template")
        if done.status:
            said = f"the command after {path} was written ended with status {done.status}: {done.output[-500:]}"
            self._report(ConditionDetected("template-exec", said))

    def _open_telemetry(self, metadata: Mapping[str, str], plan: plans.Telemetry) -> TelemetryAdapter:
        from autopilot.adapters.telemetry.telemetry_adapter import TelemetryAdapter, TelemetrySetupError

        own = {key.replace("-", "_"): value for key, value in metadata.items()}
        address = self._addresses[service_addresses.SUPERVISOR_KEY]
        try:
            return TelemetryAdapter(
                plan,
                address=address,
                metadata=own,
                status_source=self,
                report=self._report,
                start_task=self._start_task,
            )
        except TelemetrySetupError as cannot:
            raise IntegrationError(str(cannot)) from None

    def begin(self) -> None:
        for adapter in (self._consul, self._telemetry):
            if adapter is not None:
                adapter.begin()

    # --- told ---

    def on_effect(self, effect: Effect) -> None:
        if self._consul is not None and isinstance(effect, Event):
            self._consul.on_event(effect)
        if self._telemetry is not None:
            self._telemetry.on_effect(effect)

    # --- limits between hosts ---

    def request_permit(self, holder: str, on_granted: Callable[[bool], None]) -> None:
        assert self._consul is not None, "locks come with Consul"
        self._consul.request_permit(holder, on_granted)

    def release_permit(self, holder: str) -> None:
        if holder in self.lock_holders and self._consul is not None:
            self._consul.release_permit(holder)

    def record_answer(self, status: int, path: str) -> None:
        """A request on the control socket was answered."""
        if self._telemetry is not None:
            self._telemetry.record_answer(status, path)

    def set_metric(self, name: str, value: object) -> None:
        """Set a metric of the jobs. Raises ValueError."""
        if self._telemetry is None:
            raise ValueError("there is no telemetry section")
        self._telemetry.set_metric(name, value)

    async def shut_down(self) -> None:
        """The end: out of Consul, within a bound."""
        if self._consul is not None:
            await self._consul.end()

    # --- looked at ---

    def get_status(self) -> Mapping[str, Any]:
        return self._get_status()

    def build_status_section(self) -> dict[str, object]:
        """Our part of `autopilot status`."""
        return {} if self._consul is None else {"consul": self._consul.build_status()}

    def get_job_environment(self) -> dict[str, str]:
        """What children are told: where each advertised job is reached."""
        return self._address_environment

    def list_services(self) -> list[Service]:
        """What ContainerPilot's /status lists: the jobs with a port, and the telemetry port itself."""
        from autopilot.adapters.service_names import TELEMETRY_SERVICE
        from autopilot.adapters.telemetry.containerpilot_status import Service

        offered = [(job.name, job.service.port) for job in self._plan.jobs if job.service is not None]
        own = (
            [Service(TELEMETRY_SERVICE, self._addresses[service_addresses.SUPERVISOR_KEY], self._plan.telemetry.port)]
            if self._plan.telemetry
            else []
        )
        return [*(Service(name, self._addresses.get(name, ""), port) for name, port in offered), *own]

    async def list_targets(self) -> Sequence[Mapping[str, object]]:
        """For http_sd of Prometheus."""
        from autopilot.adapters.http_server import RequestError

        if self._consul is None:
            raise RequestError(404, "there is no consul section, so nothing is known of other containers")
        try:
            return await self._consul.list_targets()
        except ConnectionError as error:
            raise RequestError(503, f"cannot ask Consul: {error}") from None


def _has_integrations(plan: plans.Plan) -> bool:
    return plan.consul is not None or plan.telemetry is not None or bool(plan.templates)


INSTALL_REMEDY = "pip install condor-autopilot[consul,telemetry]"


def _build_metadata(container_info: ContainerInfo, life: str) -> dict[str, str]:
    """Who we are, with keys that Consul's filters can take."""
    about = {
        "container-id": container_info.container_id,
        "host": container_info.host,
        "slot": container_info.slot,
        "image-digest": container_info.image_digest,
        "version": __version__,
        "life": life,
    }
    return {key: value for key, value in about.items() if value}


def format_env_name(job: str) -> str:
    """ContainerPilot: upper case, every run of other characters one `_`."""
    return re.sub(r"[^A-Z0-9]+", "_", job.upper())
