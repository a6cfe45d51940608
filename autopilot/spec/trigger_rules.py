"""Check awaited events: each source exists and emits the event, and no jobs wait for each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from autopilot.spec.findings import Finding
from autopilot.spec.job_queries import list_awaited_events, list_job_name_paths, names_supervisor
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.os_names import format_suggestion
from autopilot.spec.spec_model import Job, Spec
from autopilot.spec.vocabulary import SIGNAL_SOURCES

MAX_LISTED_NAMES = 20  # in a message
_JOB_EVENTS = ("healthy", "unhealthy", "exitSuccess", "exitFailed", "stopping", "stopped")
_WATCH_EVENTS = ("changed", "healthy", "unhealthy")
_SUPERVISOR_EVENTS = ("startup", "shutdown", "enterMaintenance", "exitMaintenance", "asked")


def check_triggers(spec: Spec) -> Iterator[Finding]:
    """Yield the findings about events that jobs and the lifetime wait for."""
    yield from _check_watches(spec)
    job_indices = {job.label: index for index, job in enumerate(spec.jobs)}
    for index, job in enumerate(spec.jobs):
        reserved = job.label in SIGNAL_SOURCES or (job.label and names_supervisor(spec, job.label))
        if reserved or job.label.startswith("watch."):
            message = f'cannot be "{job.label}": this name is reserved as a source of events; choose another'
            yield Finding(("jobs", index, "name"), message)
        for source, event, path in list_awaited_events(job, ("jobs", index, "when")):
            yield from _check_trigger(spec, job_indices, source, event, path)
    yield from _check_cycles(spec)
    if spec.lifetime is not None and spec.lifetime.after is not None:
        after = spec.lifetime.after
        yield from _check_trigger(spec, job_indices, after.source or "", after.once, ("lifetime", "after", "once"))


def _check_watches(spec: Spec) -> Iterator[Finding]:
    identities: set[tuple[str | None, ...]] = set()
    for index, watch in enumerate(spec.watches):
        if (watch.name, watch.tag, watch.dc) in identities:
            message = f'cannot be "{watch.name}" again: another watch has this name, tag and data centre; remove one'
            yield Finding(("watches", index, "name"), message)
        identities.add((watch.name, watch.tag, watch.dc))
        path: KeyPath = ("watches", index)
        if watch.key is not None and watch.tag is not None:
            yield Finding(
                (*path, "tag"),
                "cannot be given with a key: only services have tags; remove one of the two",
                related_paths=((*path, "key"),),
            )
        if watch.key is not None and watch.key.startswith("/"):
            message = f'cannot be "{watch.key}": a key of Consul does not begin with /; write "{watch.key.lstrip("/")}"'
            yield Finding((*path, "key"), message)


def _check_trigger(
    spec: Spec, job_indices: Mapping[str, int], source: str, event: str, path: KeyPath
) -> Iterator[Finding]:
    if source in SIGNAL_SOURCES:
        yield from _check_event(source, event, ("signal", source), path)
    elif names_supervisor(spec, source):
        yield from _check_event("the supervisor", event, _SUPERVISOR_EVENTS, path, needs_source=not source)
    elif source.startswith("watch."):
        yield from _check_watch_trigger(spec, source, event, path)
    elif source not in job_indices:
        suggestion = format_suggestion(source, [*job_indices, *(f"watch.{watch.name}" for watch in spec.watches)])
        remedy = suggestion or f"; there are: {', '.join(islice(job_indices, MAX_LISTED_NAMES))}"
        remedy += ", ..." if not suggestion and len(job_indices) > MAX_LISTED_NAMES else ""
        message = f'cannot be "{source}": no job has this name{remedy}'
        yield Finding((*path[:-1], "source"), message, related_paths=list_job_name_paths(spec))
    else:
        yield from _check_job_event(
            spec.jobs[job_indices[source]], event, path, ("jobs", job_indices[source], "health")
        )


def _check_watch_trigger(spec: Spec, source: str, event: str, path: KeyPath) -> Iterator[Finding]:
    names = [f"watch.{watch.name}" for watch in spec.watches]
    if source in names:
        yield from _check_event(source, event, _WATCH_EVENTS, path)
        return
    remedy = format_suggestion(source, names) or "; add it to watches"
    message = f'cannot be "{source}": there is no such watch{remedy}'
    yield Finding((*path[:-1], "source"), message, related_paths=(("watches",),))


def _check_job_event(job: Job, event: str, path: KeyPath, health_path: KeyPath) -> Iterator[Finding]:
    if event in ("healthy", "unhealthy") and job.health is None:
        reason = f'job "{job.label}" has no health check, so it never emits this event'
        message = f'cannot be "{event}": {reason}; add health to the job'
        yield Finding(path, message, related_paths=(health_path,))
    yield from _check_event(f'job "{job.label}"', event, _JOB_EVENTS, path)


def _check_event(
    emitter: str, event: str, known: tuple[str, ...], path: KeyPath, *, needs_source: bool = False
) -> Iterator[Finding]:
    if event not in known:
        if needs_source and event in _JOB_EVENTS + _WATCH_EVENTS:
            remedy = "; source is left out: name the job to wait for"
        else:
            remedy = format_suggestion(event, known) or f"; it emits {', '.join(known)}"
        yield Finding(path, f'cannot be "{event}": {emitter} emits no such event{remedy}')


def _check_cycles(spec: Spec) -> Iterator[Finding]:
    """Find jobs that wait for each other: none of them ever starts, because a job emits nothing before it starts."""
    waits_for = {job.label: [s for s, _, _ in list_awaited_events(job)] for job in spec.jobs}
    waits_for = _keep_cycles(_keep_cycles(waits_for))  # behind and before: the usual chains are gone
    reported: set[str] = set()
    for index, job in enumerate(spec.jobs):
        if job.label not in waits_for or job.label in reported:
            continue
        cycle = _find_cycle_from(job.label, waits_for)
        if cycle and not reported & set(cycle):
            reported |= set(cycle)
            chain = " -> ".join([*cycle, job.label])
            message = (
                f"cannot be met: {chain} wait for each other, so none ever starts; let one of them start by itself"
            )
            yield Finding(
                ("jobs", index, "when"),
                message,
                related_paths=tuple(("jobs", i, "when") for i in range(len(spec.jobs))),
            )


def _keep_cycles(edges: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return a graph with its edges turned round, without the nodes from which no cycle can be reached; linear time."""
    reversed_edges: dict[str, list[str]] = {node: [] for node in edges}
    remaining = {node: sum(target in edges for target in targets) for node, targets in edges.items()}
    for node, targets in edges.items():
        for target in targets:
            if target in reversed_edges:
                reversed_edges[target].append(node)
    removable = [node for node, count in remaining.items() if count == 0]
    for node in removable:  # grows
        for other in reversed_edges[node]:
            remaining[other] -= 1
            if remaining[other] == 0:
                removable.append(other)
    removed = set(removable)
    return {
        node: [other for other in others if other not in removed]
        for node, others in reversed_edges.items()
        if node not in removed
    }


def _find_cycle_from(start: str, waits_for: dict[str, list[str]]) -> list[str]:
    """Return the jobs on a path from a job back to itself, or no job. Iterative: thousands of jobs may form a chain."""
    came_from: dict[str, str] = {}
    pending = [start]
    while pending:
        current = pending.pop()
        for source in waits_for.get(current, ()):
            if source == start:
                return _build_cycle_path(start, current, came_from)
            if source not in came_from:
                came_from[source] = current
                pending.append(source)
    return []


def _build_cycle_path(start: str, last: str, came_from: dict[str, str]) -> list[str]:
    cycle = [last]
    while cycle[-1] != start:
        cycle.append(came_from[cycle[-1]])
    return cycle[::-1]
