"""Derive from the events of this life the services that Consul should show: the supervisor's own and those of jobs.

Pure. A job's service exists from its first passing check (or from its start, with an initial status) until it stops;
its status is that of our own check of the job. The supervisor's service carries the state of this life in its metadata.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace

from autopilot import __version__
from autopilot.adapters.consul.registration_state import Desired
from autopilot.adapters.consul.service_definition import ServiceDefinition
from autopilot.adapters.service_names import SUPERVISOR_SERVICE, TELEMETRY_SERVICE
from autopilot.machines import events
from autopilot.spec.plan import Job, Plan
from autopilot.timestamps import format_timestamp

SUPERVISOR_TTL_S = 30.0
SUPERVISOR_DEREGISTER_AFTER = "24h"  # nothing else deregisters the service of a container that was killed


@dataclass(frozen=True, slots=True)
class LifeIdentity:
    """The identity of this life, which is in the metadata of all its services."""

    hostname: str
    meta: Mapping[str, str]  # Consul's filters cannot take keys with dots
    started: float  # seconds since the epoch


@dataclass(slots=True)
class ServiceEntry:
    """A service that may be offered, and its current wanted state."""

    definition: ServiceDefinition
    initial_status: str | None = None
    desired: Desired | None = None
    is_supervisor: bool = False


class DesiredServices:
    """The services of this life and their wanted states."""

    def __init__(
        self, plan: Plan, life: LifeIdentity, addresses: Mapping[str, str], *, containerpilot: bool = False
    ) -> None:
        """Offer the supervisor's own services; those of jobs follow their events.

        Args:
            plan: The plan.
            life: The identity of this life.
            addresses: The address of each job with a port, and that of the telemetry port under "".
            containerpilot: Offer the services that ContainerPilot would: none for the supervisor beside its telemetry,
                and none during maintenance.
        """
        self.life, self._containerpilot = life, containerpilot
        self._changing_meta: dict[str, str] = {
            "started": format_timestamp(life.started),
            "drain": "no",
            "payloads": "0",
        }
        self._maintenance = False
        self.deregistered = False  # nothing is offered, whatever the events say
        self._entry_by_job: dict[str, ServiceEntry] = {}
        self._entry_by_id: dict[str, ServiceEntry] = {}
        self._is_shown_without_port = False
        self.apply_plan(plan, addresses, healthy_jobs=())

    def apply_plan(self, plan: Plan, addresses: Mapping[str, str], *, healthy_jobs: Collection[str]) -> Collection[str]:
        """Offer the services of another plan from now on.

        Args:
            plan: The new plan.
            addresses: As for the constructor.
            healthy_jobs: The jobs that are healthy now.

        Returns:
            The ids that are no longer offered.
        """
        old_entry_by_job, old_ids = self._entry_by_job, self._entry_by_id.keys()
        self._entry_by_job = {
            job.name: self._build_job_entry(job, addresses[job.name]) for job in plan.jobs if job.service is not None
        }
        for name, entry in self._entry_by_job.items():
            desired = old_entry_by_job[name].desired if name in old_entry_by_job else None
            if desired is not None:
                entry.desired = replace(desired, definition=entry.definition)
            elif name in healthy_jobs:
                entry.desired = Desired(entry.definition, "passing", "healthy")
        self._changing_meta.pop("batch-system", None)
        if plan.batch is not None:
            self._changing_meta["batch-system"] = plan.batch.system
        is_shown = not self._containerpilot and (plan.consul is None or plan.consul.own_service)
        self._is_shown_without_port = is_shown and plan.telemetry is None
        supervisor_entries = self._build_supervisor_entries(plan, addresses.get("", ""), is_shown)
        entries = (*supervisor_entries, *self._entry_by_job.values())
        self._entry_by_id = {entry.definition.id: entry for entry in entries}
        return old_ids - self._entry_by_id.keys()

    def copy_for_new_consul(self) -> DesiredServices:
        """Return a copy to offer the same services to another Consul."""
        copied = copy(self)
        copied._changing_meta, copied.deregistered = dict(self._changing_meta), False
        return copied

    @property
    def ids(self) -> Collection[str]:
        """The ids of all services that may be offered."""
        return self._entry_by_id.keys()

    def compute_desired(self, id: str) -> Desired | None:
        """Return the state that a service should have in Consul now; None: not registered."""
        entry = self._entry_by_id[id]
        hidden = self._maintenance and self._containerpilot
        if entry.desired is None or self.deregistered or hidden:
            return None
        changing_meta = self._changing_meta
        if not entry.is_supervisor:
            changing_meta = {key: value for key, value in changing_meta.items() if key == "lifetime-end"}
        meta = {**entry.definition.meta, **self.life.meta, **changing_meta}
        definition = replace(entry.definition, meta=meta)
        return replace(entry.desired, definition=definition, maintenance=self._maintenance)

    def build_fleet_record(self) -> Mapping[str, str] | None:
        """Return the entry of a life that has no port in the list of the fleet; None: it is a service, or not shown."""
        if not self._is_shown_without_port or self.deregistered:
            return None
        status = "maintenance" if self._maintenance else "alive"
        return {**self.life.meta, **self._changing_meta, "hostname": self.life.hostname, "status": status}

    def on_event(self, event: events.Event, now: float) -> Collection[str]:
        """Apply an event and return the ids of the services that may have changed; `now` in seconds since the epoch."""
        entry = self._entry_by_job.get(event.source)
        if entry is not None and _update_entry(entry, event):
            return (entry.definition.id,)
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
            id=f"{job.name}-{self.life.hostname}",
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

    def _build_supervisor_entries(self, plan: Plan, address: str, is_shown: bool) -> list[ServiceEntry]:
        """Return the services at the telemetry port; without one there is none, since its port would be 0."""
        if plan.telemetry is None:
            return []
        names: dict[str, tuple[str, ...]] = {SUPERVISOR_SERVICE: ()} if is_shown else {}
        names[TELEMETRY_SERVICE] = (*plan.telemetry.tags, __version__)
        definitions = [
            ServiceDefinition(
                id=f"{name}-{self.life.hostname}",
                name=name,
                ttl=SUPERVISOR_TTL_S,
                address=address,
                port=plan.telemetry.port,
                tags=tags,
                deregister_critical_service_after=SUPERVISOR_DEREGISTER_AFTER,
            )
            for name, tags in names.items()
        ]
        return [
            ServiceEntry(definition, desired=Desired(definition, "passing", "running"), is_supervisor=True)
            for definition in definitions
        ]


def _update_entry(entry: ServiceEntry, event: events.Event) -> bool:
    """Apply an event of the service's job and return True if the wanted state may have changed."""
    desired = entry.desired
    match event:
        case events.JobStarted() if entry.initial_status:
            entry.desired = Desired(entry.definition, entry.initial_status)
        case events.Healthy():
            entry.desired = Desired(entry.definition, "passing", (desired.output if desired else "") or "healthy")
        case events.CheckPassed(_, output) | events.CheckFailed(_, output) if desired is not None:
            entry.desired = replace(desired, output=output)
        case events.Unhealthy(_, output) if desired is not None:
            entry.desired = replace(desired, status="critical", output=output)
        case events.JobExited(_, _, status) if desired is not None:
            entry.desired = replace(desired, status="critical", output=f"ended with status {status}")
        case events.JobStopping() | events.JobStopped():
            entry.desired = None
        case _:
            return False
    return True
