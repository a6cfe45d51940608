"""What is offered through Consul at any moment, from the facts of this life: our own service and those of the jobs.

Pure. A job's service is there from its first good check (or its start, with an initial status) until it stops; its
check says what our own check of the job says. Our own service carries in its metadata what a fleet wants to know.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace

from autopilot.adapters.consul.registration import Desired
from autopilot.adapters.consul.service_definition import ServiceDefinition
from autopilot.machines import events
from autopilot.spec.plan import Job, Plan

SUPERVISOR_SERVICE = "autopilot"  # the name of the supervisor's service
TELEMETRY_SERVICE = "containerpilot"  # ContainerPilot's name for its own, which its users' Prometheus discovers
SUPERVISOR_TTL_S = 30.0  # s
SUPERVISOR_DEREGISTER_AFTER = "24h"  # critical for so long, Consul takes it out: nobody else will


@dataclass(frozen=True, slots=True)
class LifeIdentity:
    """Who we are: what every service of ours says in its metadata. Keys as Consul's filters can take them: no dots."""

    hostname: str
    meta: Mapping[str, str]
    started: float  # seconds since the epoch


@dataclass(slots=True)
class ServiceEntry:
    definition: ServiceDefinition
    initial_status: str | None = None
    desired: Desired | None = None
    is_supervisor: bool = False  # the supervisor's


class DesiredServices:
    def __init__(
        self, plan: Plan, life: LifeIdentity, addresses: Mapping[str, str], *, hide_in_maintenance: bool = False
    ) -> None:
        """`addresses`: for each job with a port, and "" for the telemetry port. `maintained_away`: in maintenance
        nothing is offered, as ContainerPilot does it, but for what says that we live."""
        self._life, self._hide_in_maintenance = life, hide_in_maintenance
        self._changing_meta: dict[str, str] = {
            "started": format_timestamp(life.started),
            "drain": "no",
            "payloads": "0",
        }
        self._maintenance = False
        self.deregistered = False  # everything is taken out
        self._entry_by_job: dict[str, ServiceEntry] = {}
        self._entry_by_id: dict[str, ServiceEntry] = {}
        self.apply_plan(plan, addresses, healthy_jobs=())

    def apply_plan(self, plan: Plan, addresses: Mapping[str, str], *, healthy_jobs: Collection[str]) -> Collection[str]:
        """Offer what `plan` offers from now on; `healthy`: the jobs that are so now. The ids that are not offered any
        more."""
        before_jobs, before = self._entry_by_job, self._entry_by_id
        self._entry_by_job = {
            job.name: self._build_job_entry(job, addresses[job.name]) for job in plan.jobs if job.service is not None
        }
        for name, offer in self._entry_by_job.items():
            wanted = before_jobs[name].desired if name in before_jobs else None
            if wanted is not None:
                offer.desired = replace(wanted, definition=offer.definition)
            elif name in healthy_jobs:
                offer.desired = Desired(offer.definition, "passing", "healthy")
        own = self._build_supervisor_entries(plan, addresses.get("", ""))
        self._entry_by_id = {offer.definition.id: offer for offer in (*own, *self._entry_by_job.values())}
        return before.keys() - self._entry_by_id.keys()

    def copy_for_new_consul(self) -> DesiredServices:
        """The same offers, for another Consul."""
        copied = copy(self)
        copied._changing_meta, copied.deregistered = dict(self._changing_meta), False
        return copied

    @property
    def ids(self) -> Collection[str]:
        return self._entry_by_id.keys()

    def compute_desired(self, id: str) -> Desired | None:
        """One service as it should be now."""
        offer = self._entry_by_id[id]
        away = self._maintenance and self._hide_in_maintenance and offer.definition.name != SUPERVISOR_SERVICE
        if offer.desired is None or self.deregistered or away:
            return None
        changing = (
            self._changing_meta
            if offer.is_supervisor
            else {k: v for k, v in self._changing_meta.items() if k == "lifetime-end"}
        )
        definition = replace(offer.definition, meta={**offer.definition.meta, **self._life.meta, **changing})
        return replace(offer.desired, definition=definition, maintenance=self._maintenance)

    def on_event(self, event: events.Event, now: float) -> Collection[str]:
        """The services that may have changed. `now` in seconds since the epoch."""
        offer = self._entry_by_job.get(event.source)
        if offer is not None and _update_entry(offer, event):
            return (offer.definition.id,)
        return self.ids if self._update_from_life_event(event, now) else ()

    def _update_from_life_event(self, event: events.Event, now: float) -> bool:
        match event:
            case events.MaintenanceEntered() | events.MaintenanceExited():
                self._maintenance = isinstance(event, events.MaintenanceEntered)
            case events.LifetimeBegun(seconds) | events.LifetimeChanged(seconds) if seconds is not None:
                self._changing_meta["lifetime-end"] = format_timestamp(now + seconds)
            case events.DrainBegun(reason, _, deadline):
                self._changing_meta["drain"] = reason
                if deadline is not None:
                    self._changing_meta["drain-deadline"] = format_timestamp(now + deadline)
            case events.DrainDeadlineChanged(_, deadline):
                self._changing_meta["drain-deadline"] = format_timestamp(now + deadline)
            case events.PayloadsChanged(payloads):
                self._changing_meta["payloads"] = str(len(payloads))
            case _:
                return False
        return True

    # --- definitions ---

    def _build_job_entry(self, job: Job, address: str) -> ServiceEntry:
        service, health = job.service, job.health
        assert service is not None and health is not None, "a job with a port has both"
        definition = ServiceDefinition(
            id=f"{job.name}-{self._life.hostname}",
            name=job.name,
            ttl=health.ttl,
            address=address,
            port=service.port,
            tags=service.tags,
            meta=service.meta,
            enable_tag_override=service.enable_tag_override,
            deregister_critical_service_after=service.deregister_critical_service_after,
        )
        return ServiceEntry(definition, service.initial_status)

    def _build_supervisor_entries(self, plan: Plan, address: str) -> list[ServiceEntry]:
        port = plan.telemetry.port if plan.telemetry else 0
        names = {SUPERVISOR_SERVICE: ()} | ({TELEMETRY_SERVICE: plan.telemetry.tags} if plan.telemetry else {})
        offers = []
        for name, tags in names.items():
            definition = ServiceDefinition(
                id=f"{name}-{self._life.hostname}",
                name=name,
                ttl=SUPERVISOR_TTL_S,
                address=address,
                port=port,
                tags=tags,
                deregister_critical_service_after=SUPERVISOR_DEREGISTER_AFTER,
            )
            offers.append(
                ServiceEntry(definition, desired=Desired(definition, "passing", "running"), is_supervisor=True)
            )
        return offers


def format_timestamp(seconds: float) -> str:
    """2026-01-31T12:00:00Z"""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _update_entry(entry: ServiceEntry, event: events.Event) -> bool:
    wanted = entry.desired
    match event:
        case events.JobStarted() if entry.initial_status:
            entry.desired = Desired(entry.definition, entry.initial_status)
        case events.Healthy():
            entry.desired = Desired(entry.definition, "passing", (wanted.output if wanted else "") or "healthy")
        case events.CheckPassed(_, output) | events.CheckFailed(_, output) if wanted is not None:
            entry.desired = replace(wanted, output=output)
        case events.Unhealthy(_, output) if wanted is not None:
            entry.desired = replace(wanted, status="critical", output=output)
        case events.JobExited(_, _, status) if wanted is not None:
            entry.desired = replace(wanted, status="critical", output=f"ended with status {status}")
        case events.JobStopping() | events.JobStopped():
            entry.desired = None
        case _:
            return False
    return True
