"""What is offered through Consul at any moment, from the facts of this life: our own service and those of the jobs.

Pure. A job's service is there from its first good check (or its start, with an initial status) until it stops; its
check says what our own check of the job says. Our own service carries in its metadata what a fleet wants to know.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace

from autopilot.adapters.consul.definition import Definition
from autopilot.adapters.consul.registration import Wanted
from autopilot.machines import facts
from autopilot.spec.plan import Job, Plan

OWN = "autopilot"  # the name of the supervisor's service
TELEMETRY = "containerpilot"  # ContainerPilot's name for its own, which its users' Prometheus discovers
OWN_TTL = 30.0  # s
OWN_GONE_AFTER = "24h"  # critical for so long, Consul takes it out: nobody else will


@dataclass(frozen=True, slots=True)
class Life:
    """Who we are: what every service of ours says in its metadata. Keys as Consul's filters can take them: no dots."""

    hostname: str
    meta: Mapping[str, str]
    started: float  # seconds since the epoch


@dataclass(slots=True)
class Offer:
    definition: Definition
    initial_status: str | None = None
    wanted: Wanted | None = None
    own: bool = False  # the supervisor's


class Offers:
    def __init__(self, plan: Plan, life: Life, addresses: Mapping[str, str], *, maintained_away: bool = False) -> None:
        """`addresses`: for each job with a port, and "" for the telemetry port. `maintained_away`: in maintenance
        nothing is offered, as ContainerPilot does it, but for what says that we live."""
        self._life, self._maintained_away = life, maintained_away
        self._facts: dict[str, str] = {"started": timestamp(life.started), "drain": "no", "payloads": "0"}
        self._maintenance = False
        self.left = False  # everything is taken out
        self._jobs: dict[str, Offer] = {}
        self._by_id: dict[str, Offer] = {}
        self.adopt(plan, addresses, healthy=())

    def adopt(self, plan: Plan, addresses: Mapping[str, str], *, healthy: Collection[str]) -> Collection[str]:
        """Offer what `plan` offers from now on; `healthy`: the jobs that are so now. The ids that are not offered any
        more."""
        before_jobs, before = self._jobs, self._by_id
        self._jobs = {job.name: self._of_job(job, addresses[job.name]) for job in plan.jobs if job.service is not None}
        for name, offer in self._jobs.items():
            wanted = before_jobs[name].wanted if name in before_jobs else None
            if wanted is not None:
                offer.wanted = replace(wanted, definition=offer.definition)
            elif name in healthy:
                offer.wanted = Wanted(offer.definition, "passing", "healthy")
        own = self._own_offers(plan, addresses.get("", ""))
        self._by_id = {offer.definition.id: offer for offer in (*own, *self._jobs.values())}
        return before.keys() - self._by_id.keys()

    def elsewhere(self) -> Offers:
        """The same offers, for another Consul."""
        copied = copy(self)
        copied._facts, copied.left = dict(self._facts), False
        return copied

    @property
    def ids(self) -> Collection[str]:
        return self._by_id.keys()

    def wanted(self, id: str) -> Wanted | None:
        """One service as it should be now."""
        offer = self._by_id[id]
        away = self._maintenance and self._maintained_away and offer.definition.name != OWN
        if offer.wanted is None or self.left or away:
            return None
        changing = self._facts if offer.own else {k: v for k, v in self._facts.items() if k == "lifetime-end"}
        definition = replace(offer.definition, meta={**offer.definition.meta, **self._life.meta, **changing})
        return replace(offer.wanted, definition=definition, maintenance=self._maintenance)

    def hear(self, fact: facts.Fact, now: float) -> Collection[str]:
        """The services that may have changed. `now` in seconds since the epoch."""
        offer = self._jobs.get(fact.source)
        if offer is not None and _hear_of_job(offer, fact):
            return (offer.definition.id,)
        return self.ids if self._hear_of_life(fact, now) else ()

    def _hear_of_life(self, fact: facts.Fact, now: float) -> bool:
        match fact:
            case facts.MaintenanceEntered() | facts.MaintenanceLeft():
                self._maintenance = isinstance(fact, facts.MaintenanceEntered)
            case facts.LifetimeBegun(seconds) | facts.LifetimeMoved(seconds) if seconds is not None:
                self._facts["lifetime-end"] = timestamp(now + seconds)
            case facts.DrainBegun(reason, _, deadline):
                self._facts["drain"] = reason
                if deadline is not None:
                    self._facts["drain-deadline"] = timestamp(now + deadline)
            case facts.DeadlineMoved(_, deadline):
                self._facts["drain-deadline"] = timestamp(now + deadline)
            case facts.PayloadsChanged(payloads):
                self._facts["payloads"] = str(len(payloads))
            case _:
                return False
        return True

    # --- definitions ---

    def _of_job(self, job: Job, address: str) -> Offer:
        service, health = job.service, job.health
        assert service is not None and health is not None, "a job with a port has both"
        definition = Definition(
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
        return Offer(definition, service.initial_status)

    def _own_offers(self, plan: Plan, address: str) -> list[Offer]:
        port = plan.telemetry.port if plan.telemetry else 0
        names = {OWN: ()} | ({TELEMETRY: plan.telemetry.tags} if plan.telemetry else {})
        offers = []
        for name, tags in names.items():
            definition = Definition(
                id=f"{name}-{self._life.hostname}",
                name=name,
                ttl=OWN_TTL,
                address=address,
                port=port,
                tags=tags,
                deregister_critical_service_after=OWN_GONE_AFTER,
            )
            offers.append(Offer(definition, wanted=Wanted(definition, "passing", "running"), own=True))
        return offers


def timestamp(seconds: float) -> str:
    """2026-01-31T12:00:00Z"""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _hear_of_job(offer: Offer, fact: facts.Fact) -> bool:
    wanted = offer.wanted
    match fact:
        case facts.JobStarted() if offer.initial_status:
            offer.wanted = Wanted(offer.definition, offer.initial_status)
        case facts.Healthy():
            offer.wanted = Wanted(offer.definition, "passing", (wanted.output if wanted else "") or "healthy")
        case facts.CheckPassed(_, output) | facts.CheckFailed(_, output) if wanted is not None:
            offer.wanted = replace(wanted, output=output)
        case facts.Unhealthy(_, output) if wanted is not None:
            offer.wanted = replace(wanted, status="critical", output=output)
        case facts.JobExited(_, _, status) if wanted is not None:
            offer.wanted = replace(wanted, status="critical", output=f"ended with status {status}")
        case facts.JobStopping() | facts.JobStopped():
            offer.wanted = None
        case _:
            return False
    return True
