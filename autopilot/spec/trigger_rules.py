"""Events: that each source exists, that it can emit what is waited for, and that no jobs wait for each other."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot.spec.findings import Finding
from autopilot.spec.os_names import format_suggestion
from autopilot.spec.parsing import KeyPath
from autopilot.spec.spec_model import Job, Spec

SIGNAL_SOURCES = ("SIGHUP", "SIGUSR2")
SUPERVISOR_SOURCES = ("", "autopilot", "containerpilot", "global")  # the supervisor as a source
_JOB_EVENTS = ("healthy", "unhealthy", "exitSuccess", "exitFailed", "stopping", "stopped")
_WATCH_EVENTS = ("changed", "healthy", "unhealthy")
_SUPERVISOR_EVENTS = ("startup", "shutdown", "enterMaintenance", "exitMaintenance", "asked")


def check_triggers(spec: Spec) -> Iterator[Finding]:
    yield from _check_watches(spec)
    for index, job in enumerate(spec.jobs):
        if job.label in SIGNAL_SOURCES or job.label in SUPERVISOR_SOURCES[1:] or job.label.startswith("watch."):
            message = f'cannot be "{job.label}": as a source of events that name is taken; choose another'
            yield Finding(("jobs", index, "name"), message)
        for source, event, path in list_awaited_events(job, ("jobs", index, "when")):
            yield from _check_trigger(spec, source, event, path)
    yield from _check_cycles(spec)
    if spec.lifetime is not None and spec.lifetime.after is not None:
        after = spec.lifetime.after
        yield from _check_trigger(spec, after.source or "", after.once, ("lifetime", "after", "once"))


def list_awaited_events(job: Job, path: KeyPath) -> list[tuple[str, str, KeyPath]]:
    """The events a job waits for: source, event and the path of the event."""
    when = job.when
    if when is None:
        return []
    if when.all is not None:
        return [(trigger.source or "", trigger.once, (*path, "all", i, "once")) for i, trigger in enumerate(when.all)]
    if when.once is None and when.each is None:
        return [(when.source, "signal", (*path, "source"))] if when.source in SIGNAL_SOURCES else []
    key = "each" if when.once is None else "once"
    return [(when.source or "", when.once or when.each or "", (*path, key))]


def _check_watches(spec: Spec) -> Iterator[Finding]:
    seen: set[tuple[str | None, ...]] = set()
    for index, watch in enumerate(spec.watches):
        if (watch.name, watch.tag, watch.dc) in seen:
            message = f'cannot be "{watch.name}" again: another watch has this name, tag and data centre'
            yield Finding(("watches", index, "name"), message)
        seen.add((watch.name, watch.tag, watch.dc))
        path: KeyPath = ("watches", index)
        if watch.key is not None and watch.tag is not None:
            yield Finding(
                (*path, "tag"), "cannot be given with a key: only services have tags", related_paths=((*path, "key"),)
            )
        if watch.key is not None and watch.key.startswith("/"):
            message = f'cannot be "{watch.key}": a key of Consul has no / first; write "{watch.key.lstrip("/")}"'
            yield Finding((*path, "key"), message)


def _check_trigger(spec: Spec, source: str, event: str, path: KeyPath) -> Iterator[Finding]:
    names = {job.label: index for index, job in enumerate(spec.jobs)}
    named: tuple[KeyPath, ...] = tuple(("jobs", index, key) for index in names.values() for key in ("name", "exec"))
    if source in SIGNAL_SOURCES:
        yield from _check_event(source, event, ("signal", source), path)
    elif source in SUPERVISOR_SOURCES:
        yield from _check_event("the supervisor", event, _SUPERVISOR_EVENTS, path, needs_source=not source)
    elif source.startswith("watch."):
        yield from _check_watch_trigger(spec, source, event, path)
    elif source not in names:
        near = format_suggestion(source, [*names, *(f"watch.{watch.name}" for watch in spec.watches)])
        known = near or f"; there are: {', '.join(names)}"
        yield Finding((*path[:-1], "source"), f'cannot be "{source}": no job has this name{known}', related_paths=named)
    else:
        yield from _check_job_event(spec.jobs[names[source]], event, path, ("jobs", names[source], "health"))


def _check_watch_trigger(spec: Spec, source: str, event: str, path: KeyPath) -> Iterator[Finding]:
    watched = [f"watch.{watch.name}" for watch in spec.watches]
    if source in watched:
        yield from _check_event(source, event, _WATCH_EVENTS, path)
        return
    near = format_suggestion(source, watched) or "; add it to watches"
    yield Finding(
        (*path[:-1], "source"), f'cannot be "{source}": there is no such watch{near}', related_paths=(("watches",),)
    )


def _check_job_event(job: Job, event: str, path: KeyPath, health_path: KeyPath) -> Iterator[Finding]:
    if event in ("healthy", "unhealthy") and job.health is None:
        message = f'cannot be "{event}": job "{job.label}" has no health check, so it never says so; add health to it'
        yield Finding(path, message, related_paths=(health_path,))
    yield from _check_event(f'job "{job.label}"', event, _JOB_EVENTS, path)


def _check_event(
    emitter: str, event: str, known: tuple[str, ...], path: KeyPath, *, needs_source: bool = False
) -> Iterator[Finding]:
    if event not in known:
        near = format_suggestion(event, known) or f"; it emits {', '.join(known)}"
        missing = (
            " (source is left out; name the job to wait for)"
            if needs_source and event in _JOB_EVENTS + _WATCH_EVENTS
            else ""
        )
        yield Finding(path, f'cannot be "{event}": {emitter} emits no such event{missing or near}')


def _check_cycles(spec: Spec) -> Iterator[Finding]:
    """Jobs that wait for each other never start, whatever the event: a job says nothing before it has started."""
    waits_for = {job.label: [s for s, _, _ in list_awaited_events(job, ())] for job in spec.jobs}
    reported: set[str] = set()
    for index, job in enumerate(spec.jobs):
        cycle = _find_cycle_from(job.label, waits_for)
        if cycle and not reported & set(cycle):
            reported |= set(cycle)
            way = " -> ".join([*cycle, job.label])
            message = f"cannot be met: {way} wait for each other and none ever starts; let one of them start by itself"
            yield Finding(
                ("jobs", index, "when"),
                message,
                related_paths=tuple(("jobs", i, "when") for i in range(len(spec.jobs))),
            )


def _find_cycle_from(start: str, waits_for: dict[str, list[str]]) -> list[str]:
    """A way from a job back to itself, or nothing. Iterative: a spec may chain thousands of jobs."""
    came_from: dict[str, str] = {}
    pending = [start]
    while pending:
        here = pending.pop()
        for source in waits_for.get(here, ()):
            if source == start:
                return _build_cycle_path(start, here, came_from)
            if source not in came_from:
                came_from[source] = here
                pending.append(source)
    return []


def _build_cycle_path(start: str, last: str, came_from: dict[str, str]) -> list[str]:
    way = [last]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]
