"""Events: that each source exists, that it can emit what is waited for, and that no jobs wait for each other."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot.spec.findings import Finding
from autopilot.spec.model import Job, Spec
from autopilot.spec.parsing import Path
from autopilot.spec.posix import suggestion

SIGNALS = ("SIGHUP", "SIGUSR2")
ITSELF = ("", "autopilot", "containerpilot", "global")  # the supervisor as a source
_OF_JOB = ("healthy", "unhealthy", "exitSuccess", "exitFailed", "stopping", "stopped")
_OF_WATCH = ("changed", "healthy", "unhealthy")
_OF_ITSELF = ("startup", "shutdown", "enterMaintenance", "exitMaintenance", "asked")


def trigger_checks(spec: Spec) -> Iterator[Finding]:
    yield from _watches(spec)
    for index, job in enumerate(spec.jobs):
        if job.label in SIGNALS or job.label in ITSELF[1:] or job.label.startswith("watch."):
            message = f'cannot be "{job.label}": as a source of events that name is taken; choose another'
            yield Finding(("jobs", index, "name"), message)
        for source, event, path in awaited(job, ("jobs", index, "when")):
            yield from _trigger(spec, source, event, path)
    yield from _cycles(spec)
    if spec.lifetime is not None and spec.lifetime.after is not None:
        after = spec.lifetime.after
        yield from _trigger(spec, after.source or "", after.once, ("lifetime", "after", "once"))


def awaited(job: Job, path: Path) -> list[tuple[str, str, Path]]:
    """The events a job waits for: source, event and the path of the event."""
    when = job.when
    if when is None:
        return []
    if when.all is not None:
        return [(trigger.source or "", trigger.once, (*path, "all", i, "once")) for i, trigger in enumerate(when.all)]
    if when.once is None and when.each is None:
        return [(when.source, "signal", (*path, "source"))] if when.source in SIGNALS else []
    key = "each" if when.once is None else "once"
    return [(when.source or "", when.once or when.each or "", (*path, key))]


def _watches(spec: Spec) -> Iterator[Finding]:
    seen: set[tuple[str | None, ...]] = set()
    for index, watch in enumerate(spec.watches):
        if (watch.name, watch.tag, watch.dc) in seen:
            message = f'cannot be "{watch.name}" again: another watch has this name, tag and data centre'
            yield Finding(("watches", index, "name"), message)
        seen.add((watch.name, watch.tag, watch.dc))
        path: Path = ("watches", index)
        if watch.key is not None and watch.tag is not None:
            yield Finding((*path, "tag"), "cannot be given with a key: only services have tags", also=((*path, "key"),))
        if watch.key is not None and watch.key.startswith("/"):
            message = f'cannot be "{watch.key}": a key of Consul has no / first; write "{watch.key.lstrip("/")}"'
            yield Finding((*path, "key"), message)


def _trigger(spec: Spec, source: str, event: str, path: Path) -> Iterator[Finding]:
    names = {job.label: index for index, job in enumerate(spec.jobs)}
    named: tuple[Path, ...] = tuple(("jobs", index, key) for index in names.values() for key in ("name", "exec"))
    if source in SIGNALS:
        yield from _event(source, event, ("signal", source), path)
    elif source in ITSELF:
        yield from _event("the supervisor", event, _OF_ITSELF, path, needs_source=not source)
    elif source.startswith("watch."):
        yield from _watch(spec, source, event, path)
    elif source not in names:
        near = suggestion(source, [*names, *(f"watch.{watch.name}" for watch in spec.watches)])
        known = near or f"; there are: {', '.join(names)}"
        yield Finding((*path[:-1], "source"), f'cannot be "{source}": no job has this name{known}', also=named)
    else:
        yield from _job_event(spec.jobs[names[source]], event, path, ("jobs", names[source], "health"))


def _watch(spec: Spec, source: str, event: str, path: Path) -> Iterator[Finding]:
    watched = [f"watch.{watch.name}" for watch in spec.watches]
    if source in watched:
        yield from _event(source, event, _OF_WATCH, path)
        return
    near = suggestion(source, watched) or "; add it to watches"
    yield Finding((*path[:-1], "source"), f'cannot be "{source}": there is no such watch{near}', also=(("watches",),))


def _job_event(job: Job, event: str, path: Path, health: Path) -> Iterator[Finding]:
    if event in ("healthy", "unhealthy") and job.health is None:
        message = f'cannot be "{event}": job "{job.label}" has no health check, so it never says so; add health to it'
        yield Finding(path, message, also=(health,))
    yield from _event(f'job "{job.label}"', event, _OF_JOB, path)


def _event(
    who: str, event: str, known: tuple[str, ...], path: Path, *, needs_source: bool = False
) -> Iterator[Finding]:
    if event not in known:
        near = suggestion(event, known) or f"; it emits {', '.join(known)}"
        missing = (
            " (source is left out; name the job to wait for)" if needs_source and event in _OF_JOB + _OF_WATCH else ""
        )
        yield Finding(path, f'cannot be "{event}": {who} emits no such event{missing or near}')


def _cycles(spec: Spec) -> Iterator[Finding]:
    """Jobs that wait for each other never start, whatever the event: a job says nothing before it has started."""
    waits_for = {job.label: [s for s, _, _ in awaited(job, ())] for job in spec.jobs}
    reported: set[str] = set()
    for index, job in enumerate(spec.jobs):
        cycle = _cycle_from(job.label, waits_for)
        if cycle and not reported & set(cycle):
            reported |= set(cycle)
            way = " -> ".join([*cycle, job.label])
            message = f"cannot be met: {way} wait for each other and none ever starts; let one of them start by itself"
            yield Finding(
                ("jobs", index, "when"), message, also=tuple(("jobs", i, "when") for i in range(len(spec.jobs)))
            )


def _cycle_from(start: str, waits_for: dict[str, list[str]]) -> list[str]:
    """A way from a job back to itself, or nothing. Iterative: a spec may chain thousands of jobs."""
    came_from: dict[str, str] = {}
    pending = [start]
    while pending:
        here = pending.pop()
        for source in waits_for.get(here, ()):
            if source == start:
                return _way(start, here, came_from)
            if source not in came_from:
                came_from[source] = here
                pending.append(source)
    return []


def _way(start: str, last: str, came_from: dict[str, str]) -> list[str]:
    way = [last]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]
