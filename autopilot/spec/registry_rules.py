"""What must hold around the service registry: Consul, its agent, watches."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot.spec.findings import Finding
from autopilot.spec.os_names import format_suggestion
from autopilot.spec.registry_compiler import AGENT_JOB_NAME, LOCK_BEFORE_LIFETIME
from autopilot.spec.spec_model import Spec


def check_registry(spec: Spec) -> Iterator[Finding]:
    if spec.watches and spec.consul is None and spec.consul_agent is None:
        message = 'cannot be looked at without Consul; add consul: "HOST:PORT" or consul_agent'
        yield Finding(("watches",), message, at_key=True, related_paths=(("consul",), ("consul_agent",)))
    if spec.consul is not None and spec.consul.token is not None and spec.consul.token_file is not None:
        message = "cannot stand beside token_file: which one would count? keep the file"
        yield Finding(("consul", "token"), message, at_key=True, related_paths=(("consul", "token_file"),))
    yield from _check_templates(spec)
    yield from _check_locks(spec)
    if spec.consul_agent is None:
        return
    for index, job in enumerate(spec.jobs):
        if job.label == AGENT_JOB_NAME:
            message = (
                f'cannot be "{AGENT_JOB_NAME}" beside consul_agent, whose job has this name; remove one of the two'
            )
            yield Finding(("jobs", index, "name"), message, related_paths=(("consul_agent",),))
    if not spec.consul_agent.join:
        message = "cannot be empty; name servers of the site's Consul, or other agents"
        yield Finding(("consul_agent", "join"), message)


def _check_templates(spec: Spec) -> Iterator[Finding]:
    names = [job.label for job in spec.jobs]
    about = tuple(("jobs", index, key) for index in range(len(names)) for key in ("name", "exec"))
    written: set[str] = set()
    for index, template in enumerate(spec.templates):
        for key in ("reload", "restart"):
            job = getattr(template.on_change, key)
            if job is not None and job not in names:
                message = f'cannot be "{job}": there is no such job{format_suggestion(job, names)}'
                yield Finding(("templates", index, "on_change", key), message, related_paths=about)
        if template.destination in written:
            message = f'cannot be "{template.destination}" again: another template writes it'
            yield Finding(("templates", index, "destination"), message)
        written.add(template.destination)


def _check_locks(spec: Spec) -> Iterator[Finding]:
    names = [job.label for job in spec.jobs]
    about = tuple(("jobs", index, key) for index in range(len(names)) for key in ("name", "exec"))
    if spec.locks and spec.consul is None and spec.consul_agent is None:
        message = 'cannot be held without Consul; add consul: "HOST:PORT" or consul_agent'
        yield Finding(("locks",), message, at_key=True, related_paths=(("consul",), ("consul_agent",)))
    seen: set[str] = set()
    for index, lock in enumerate(spec.locks):
        path = ("locks", index, "before")
        if lock.before == LOCK_BEFORE_LIFETIME and spec.lifetime is None:
            yield Finding(path, "cannot be the lifetime: this container has none", related_paths=(("lifetime",),))
        elif lock.before != LOCK_BEFORE_LIFETIME and lock.before not in names:
            message = f'cannot be "{lock.before}": no job has this name{format_suggestion(lock.before, [*names, LOCK_BEFORE_LIFETIME])}'
            yield Finding(path, message, related_paths=about)
        if lock.before in seen:
            yield Finding(path, f'cannot be "{lock.before}" again: one lock for each')
        seen.add(lock.before)
        if not 10 <= lock.ttl <= 86400:
            yield Finding(("locks", index, "ttl"), "cannot be outside Consul's bounds, 10 s to 24 h")
