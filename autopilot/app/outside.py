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
from autopilot.app import addresses
from autopilot.app.surroundings import Surroundings
from autopilot.machines.core import Effect
from autopilot.machines.cues import Cue, NodeRecovered, NodeTrouble
from autopilot.machines.facts import Fact
from autopilot.runtime.commands import CommandRunner
from autopilot.spec import plan as plans

if TYPE_CHECKING:
    from autopilot.adapters.consul.adapter import Consul
    from autopilot.adapters.telemetry.adapter import Telemetry
    from autopilot.adapters.telemetry.containerpilot import Service
    from autopilot.adapters.templates.adapter import Templates
    from autopilot.adapters.templates.rendering import Need

COMMAND = 60.0  # s for the command after a template

Background = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class CannotReachOut(Exception):
    """The plan asks for what cannot be: one sentence with the remedy."""


class Outside:
    def __init__(
        self,
        plan: plans.Plan,
        *,
        state: Path,
        where: Surroundings,
        life: str,
        env: Mapping[str, str],
        report: Callable[[Cue], None],
        background: Background,
        look: Callable[[], Mapping[str, Any]],
        counts: Callable[[], tuple[int, int]],
        run: CommandRunner,
        containerpilot: bool,
    ) -> None:
        """`look` gives what `autopilot status` shows, `counts` the shell's own."""
        self._plan, self._state, self._where, self._life, self._env = plan, state, where, life, env
        self._report, self._background, self._look, self.counts, self._run = report, background, look, counts, run
        self._containerpilot = containerpilot
        self._addresses: dict[str, str] = {}
        self._lacking: dict[str, str] = {}  # jobs without an address
        self.needed = frozenset(lock.holder for lock in plan.locks)
        self._told: dict[str, str] = {}
        self._consul: Consul | None = None
        self._telemetry: Telemetry | None = None
        self._templates: Templates | None = None
        self._unasked = False  # a template looks at Consul, and there is none

    def prepare(self) -> None:
        """Before the first job. Raises CannotReachOut."""
        if not _reaches_out(self._plan):
            return
        self._addresses, lacking = self._chosen(self._plan)
        self._tell_lacking(lacking)
        about = _about(self._where, self._life)
        if self._plan.consul is not None:
            self._consul = self._reach_consul(self._plan)
            self._tell_addresses()
        if self._plan.consul_agent is not None:
            self._prepare_agent(about)
        if self._plan.templates:
            self._templates = self._made_templates(self._plan.templates)
            self._templates.render_all()
        if self._plan.telemetry is not None:
            self._telemetry = self._open_telemetry(about, self._plan.telemetry)

    def adopt(self, plan: plans.Plan, healthy: Collection[str]) -> None:
        """Tell of `plan` from now on; `healthy`: the jobs that are so. Raises CannotReachOut, with all as it was."""
        elsewhere = plan.consul != self._plan.consul
        before = self._addresses
        self._addresses, lacking = self._chosen(plan) if _reaches_out(plan) else ({}, {})
        consul, telemetry, templates = self._consul, self._telemetry, self._templates
        try:
            if elsewhere:
                consul = None if plan.consul is None else self._reach_consul(plan)
            if plan.telemetry is not None and telemetry is None:
                telemetry = self._open_telemetry(_about(self._where, self._life), plan.telemetry)
            if plan.templates and templates is None:
                templates = self._made_templates(plan.templates)
        except CannotReachOut:
            self._addresses = before
            raise
        # nothing below can fail
        self._tell_lacking(lacking)
        if elsewhere and self._consul is not None:
            self._background(self._consul.retire())
        self._plan, self._consul, self._templates = plan, consul, templates
        if consul is not None:
            self._tell_addresses()
            consul.adopt(plan, self._addresses, healthy)
            if elsewhere:
                consul.begin()
        if telemetry is not None and plan.telemetry is None:
            telemetry.close()
        elif telemetry is not None and plan.telemetry is not None:
            telemetry.adopt(plan.telemetry, address=self._addresses[addresses.OWN])
            if self._telemetry is None:
                telemetry.begin()
        self._telemetry = telemetry if plan.telemetry is not None else None
        if templates is not None:
            unasked, self._unasked = self._unasked, False
            templates.adopt(plan.templates, elsewhere=elsewhere or unasked)
            if unasked and not self._unasked:
                self._report(NodeRecovered("template-consul"))

    def _chosen(self, plan: plans.Plan) -> tuple[dict[str, str], dict[str, str]]:
        try:
            return addresses.chosen(plan)
        except ImportError as error:
            raise CannotReachOut(f"consul, telemetry: cannot be used: not installed: {error.name} ({REMEDY})") from None

    def _tell_lacking(self, lacking: dict[str, str]) -> None:
        """Of jobs that have no address, and of those that have one again."""
        for job, said in lacking.items():
            self._report(NodeTrouble(f"address-{job}", said))
        for job in self._lacking.keys() - lacking.keys():
            self._report(NodeRecovered(f"address-{job}"))
        self._lacking = lacking

    def _tell_addresses(self) -> None:
        named = {job: ip for job, ip in self._addresses.items() if job and ip}
        self._told = {f"CONTAINERPILOT_{shouted(job)}_IP": ip for job, ip in named.items()}

    def _reach_consul(self, plan: plans.Plan) -> Consul:
        """Offered what an earlier one was."""
        from autopilot.adapters.consul.access import CannotUseConsul  # loaded by those who use it
        from autopilot.adapters.consul.adapter import Consul
        from autopilot.adapters.consul.offers import Life

        life = Life(self._where.hostname, _about(self._where, self._life), time.time())
        try:
            return Consul(
                plan,
                life=life,
                addresses=self._addresses,
                env=self._env,
                report=self._report,
                background=self._background,
                maintained_away=self._containerpilot,
                offers=None if self._consul is None else self._consul.offers.elsewhere(),
            )
        except CannotUseConsul as cannot:
            raise CannotReachOut(str(cannot)) from None

    def _prepare_agent(self, about: Mapping[str, str]) -> None:
        from autopilot.app import agent_job

        assert self._consul is not None, "an agent comes with the section that reaches it"
        bind = self._addresses[addresses.OWN]
        try:
            agent_job.prepare(
                self._plan, self._state, where=self._where, bind=bind, about=about, reached=self._consul.access
            )
        except OSError as error:
            raise CannotReachOut(f"consul_agent: cannot write into {self._state}: {error.strerror}") from None

    def _made_templates(self, plan: tuple[plans.Template, ...]) -> Templates:
        from autopilot.adapters.templates.adapter import CannotUseTemplates, Templates

        try:
            return Templates(
                plan, env=self._env, report=self._report, written=self._template_written, follow=self._follow
            )
        except CannotUseTemplates as cannot:
            raise CannotReachOut(str(cannot)) from None

    def _follow(self, need: Need) -> None:
        assert self._templates is not None, "asked by the templates"
        if self._consul is not None:
            self._consul.follow(need.kind, need.name, partial(self._templates.learn, need))
        else:
            self._unasked = True
            said = f"a template looks at {need.kind}({need.name!r}), and there is no consul section"
            self._report(NodeTrouble("template-consul", f"{said}; the file that is there stays"))

    def _template_written(self, template: plans.Template) -> None:
        if template.exec is not None:
            self._background(self._run_after(template.destination, template.exec))

    async def _run_after(self, path: str, command: plans.Command) -> None:
        done = await self._run.run(command, timeout=COMMAND, name="template")
        if done.status:
            said = f"the command after {path} was written ended with status {done.status}: {done.output[-500:]}"
            self._report(NodeTrouble("template-exec", said))

    def _open_telemetry(self, about: Mapping[str, str], plan: plans.Telemetry) -> Telemetry:
        from autopilot.adapters.telemetry.adapter import CannotUseTelemetry, Telemetry

        own = {key.replace("-", "_"): value for key, value in about.items()}
        address = self._addresses[addresses.OWN]
        try:
            return Telemetry(
                plan, address=address, about=own, views=self, report=self._report, background=self._background
            )
        except CannotUseTelemetry as cannot:
            raise CannotReachOut(str(cannot)) from None

    def begin(self) -> None:
        for adapter in (self._consul, self._telemetry):
            if adapter is not None:
                adapter.begin()

    # --- told ---

    def hear(self, effect: Effect) -> None:
        if self._consul is not None and isinstance(effect, Fact):
            self._consul.hear(effect)
        if self._telemetry is not None:
            self._telemetry.hear(effect)

    # --- limits between hosts ---

    def ask(self, holder: str, granted: Callable[[bool], None]) -> None:
        assert self._consul is not None, "locks come with Consul"
        self._consul.ask_permit(holder, granted)

    def release(self, holder: str) -> None:
        if holder in self.needed and self._consul is not None:
            self._consul.release_permit(holder)

    def answered(self, status: int, path: str) -> None:
        """A request on the control socket was answered."""
        if self._telemetry is not None:
            self._telemetry.answered(status, path)

    def record(self, name: str, value: object) -> None:
        """Set a metric of the jobs. Raises ValueError."""
        if self._telemetry is None:
            raise ValueError("there is no telemetry section")
        self._telemetry.record(name, value)

    async def leave(self) -> None:
        """The end: out of Consul, within a bound."""
        if self._consul is not None:
            await self._consul.end()

    # --- looked at ---

    def status(self) -> Mapping[str, Any]:
        return self._look()

    def shown(self) -> dict[str, object]:
        """Our part of `autopilot status`."""
        return {} if self._consul is None else {"consul": self._consul.status()}

    def environment(self) -> dict[str, str]:
        """What children are told: where each advertised job is reached."""
        return self._told

    def services(self) -> list[Service]:
        """What ContainerPilot's /status lists: the jobs with a port, and the telemetry port itself."""
        from autopilot.adapters.telemetry.containerpilot import TELEMETRY, Service

        offered = [(job.name, job.service.port) for job in self._plan.jobs if job.service is not None]
        own = (
            [Service(TELEMETRY, self._addresses[addresses.OWN], self._plan.telemetry.port)]
            if self._plan.telemetry
            else []
        )
        return [*(Service(name, self._addresses.get(name, ""), port) for name, port in offered), *own]

    async def targets(self) -> Sequence[Mapping[str, object]]:
        """For http_sd of Prometheus."""
        from autopilot.adapters.wire import Refused

        if self._consul is None:
            raise Refused(404, "there is no consul section, so nothing is known of other containers")
        try:
            return await self._consul.targets()
        except ConnectionError as error:
            raise Refused(503, f"cannot ask Consul: {error}") from None


def _reaches_out(plan: plans.Plan) -> bool:
    return plan.consul is not None or plan.telemetry is not None or bool(plan.templates)


REMEDY = "pip install condor-autopilot[consul,telemetry]"


def _about(where: Surroundings, life: str) -> dict[str, str]:
    """Who we are, with keys that Consul's filters can take."""
    about = {
        "container-id": where.container_id,
        "host": where.host,
        "slot": where.slot,
        "image-digest": where.image_digest,
        "version": __version__,
        "life": life,
    }
    return {key: value for key, value in about.items() if value}


def shouted(job: str) -> str:
    """ContainerPilot: upper case, every run of other characters one `_`."""
    return re.sub(r"[^A-Z0-9]+", "_", job.upper())
