"""Check the sections around the service registry: Consul, its agent, watches, templates and locks."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot.amounts import format_seconds
from autopilot.spec.consul_address import names_port
from autopilot.spec.findings import Finding
from autopilot.spec.job_queries import list_job_name_paths, list_job_names
from autopilot.spec.os_names import format_suggestion
from autopilot.spec.spec_model import Spec
from autopilot.spec.vocabulary import AGENT_JOB_NAME, LOCK_BEFORE_LIFETIME


def check_registry(spec: Spec) -> Iterator[Finding]:
    """Yield the findings of all sections that concern the service registry."""
    yield from _check_consul(spec)
    yield from _check_agent(spec)
    yield from _check_templates(spec)
    yield from _check_locks(spec)


def _check_consul(spec: Spec) -> Iterator[Finding]:
    address = spec.consul.address if spec.consul is not None else None
    if address is not None and spec.consul_agent is None and not address.startswith("unix") and not names_port(address):
        message = "names no port, so the port of its scheme is used: 80, or 443 for https; Consul's own is 8500"
        yield Finding(("consul", "address"), message, warning=True)
    if spec.consul is None and spec.consul_agent is None:
        for key, section in (("watches", spec.watches), ("locks", spec.locks)):
            if section:
                message = 'cannot be used without Consul; add consul: "HOST:PORT" or consul_agent'
                yield Finding((key,), message, at_key=True, related_paths=(("consul",), ("consul_agent",)))
    if spec.consul is not None and spec.consul.token is not None and spec.consul.token_file is not None:
        message = "cannot be given together with token_file; remove it and keep the file"
        yield Finding(("consul", "token"), message, at_key=True, related_paths=(("consul", "token_file"),))


def _check_agent(spec: Spec) -> Iterator[Finding]:
    if spec.consul_agent is None:
        return
    address = spec.consul.address if spec.consul is not None else None
    if address is not None and not names_port(address):
        message = f'cannot be "{address}" with consul_agent, which listens there; write "HOST:PORT" or remove it'
        yield Finding(("consul", "address"), message, related_paths=(("consul_agent",),))
    for index, job in enumerate(spec.jobs):
        if job.label == AGENT_JOB_NAME:
            message = f'cannot be "{AGENT_JOB_NAME}" together with consul_agent, whose job has this name; remove one'
            yield Finding(("jobs", index, "name"), message, related_paths=(("consul_agent",),))
    if not spec.consul_agent.join:
        message = "cannot be empty; name servers of the site's Consul, or other agents"
        yield Finding(("consul_agent", "join"), message)


def _check_templates(spec: Spec) -> Iterator[Finding]:
    names = list_job_names(spec)
    destinations: set[str] = set()
    for index, template in enumerate(spec.templates):
        for key in ("reload", "restart"):
            job = getattr(template.on_change, key)
            if job is not None and job not in names:
                message = f'cannot be "{job}": no job has this name{format_suggestion(job, names)}'
                path = ("templates", index, "on_change", key)
                yield Finding(path, message, related_paths=list_job_name_paths(spec))
        if template.destination in destinations:
            message = f'cannot be "{template.destination}" again: another template writes it'
            yield Finding(("templates", index, "destination"), message)
        destinations.add(template.destination)


def _check_locks(spec: Spec) -> Iterator[Finding]:
    names = list_job_names(spec)
    holders: set[str] = set()
    for index, lock in enumerate(spec.locks):
        path = ("locks", index, "before")
        if lock.before == LOCK_BEFORE_LIFETIME and spec.lifetime is None:
            message = f'cannot be "{LOCK_BEFORE_LIFETIME}" without a lifetime section; add one, or name a job'
            yield Finding(path, message, related_paths=(("lifetime",),))
        elif lock.before != LOCK_BEFORE_LIFETIME and lock.before not in names:
            suggestion = format_suggestion(lock.before, [*names, LOCK_BEFORE_LIFETIME])
            message = f'cannot be "{lock.before}": no job has this name{suggestion}'
            yield Finding(path, message, related_paths=list_job_name_paths(spec))
        if lock.before == LOCK_BEFORE_LIFETIME and lock.on_lost == "stop":
            message = 'cannot be "stop" before the lifetime\'s end, which goes on; name a job in before, or remove this'
            yield Finding(("locks", index, "on_lost"), message, related_paths=(path,))
        if lock.before in holders:
            yield Finding(path, f'cannot be "{lock.before}" again: it has a lock already; remove one of the two')
        holders.add(lock.before)
        if not 10 <= lock.ttl <= 86400:
            message = f"cannot be outside Consul's bounds (10 s to 24h), got {format_seconds(lock.ttl)}"
            yield Finding(("locks", index, "ttl"), message)
