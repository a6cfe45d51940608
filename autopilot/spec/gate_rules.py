"""Check the gates of a spec: each asks one thing, has a name of its own, and guards jobs that exist."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot.amounts import format_seconds
from autopilot.spec.extensions import CHECK_KINDS, join_names, load_check_kind
from autopilot.spec.findings import Finding
from autopilot.spec.job_queries import list_awaited_events, list_job_name_paths, list_job_names
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.os_names import format_suggestion
from autopilot.spec.spec_model import Gate, Spec
from autopilot.spec.vocabulary import STOP_EVENTS

GATE_KINDS = tuple(name for name in CHECK_KINDS if load_check_kind(name).BATCH_SYSTEM is None)


def check_gates(spec: Spec) -> Iterator[Finding]:
    """Yield the findings of all gates."""
    first_indices: dict[str, int] = {}
    for index, gate in enumerate(spec.checks):
        path: KeyPath = ("checks", index)
        if gate.name in first_indices:
            message = f'cannot be "{gate.name}" again: checks[{first_indices[gate.name]}] has this name; choose another'
            yield Finding((*path, "name"), message)
        first_indices.setdefault(gate.name, index)
        yield from _check_kinds(gate, path)
        yield from _check_guarded_jobs(spec, gate, path)
        if gate.timeout and gate.retry > gate.timeout:
            longest = format_seconds(gate.timeout)
            message = f"is longer than the timeout ({longest}), so the last attempt comes before it"
            yield Finding((*path, "retry"), message, warning=True, related_paths=((*path, "timeout"),))


def _check_kinds(gate: Gate, path: KeyPath) -> Iterator[Finding]:
    given, about = gate.given_kinds, tuple((*path, name) for name in CHECK_KINDS)
    known = join_names(GATE_KINDS, "or")
    if not given:
        yield Finding(path, f"cannot be without a check; add one of {known}", related_paths=about)
    elif len(given) > 1:
        message = f"cannot stand beside {given[0]}: one check for each entry; write a second entry"
        yield Finding((*path, given[1]), message, related_paths=about)
    elif (system := load_check_kind(given[0]).BATCH_SYSTEM) is not None:
        message = f"cannot be asked before jobs: {system} runs in one of them; add one of {known}, or use health"
        yield Finding((*path, given[0]), message, at_key=True, related_paths=about)


def _check_guarded_jobs(spec: Spec, gate: Gate, path: KeyPath) -> Iterator[Finding]:
    names = list_job_names(spec)
    jobs = {job.label: job for job in spec.jobs}
    for name in gate.before:
        if name not in jobs:
            message = f'cannot be "{name}": no job has this name{format_suggestion(name, names)}'
            yield Finding((*path, "before"), message, related_paths=list_job_name_paths(spec))
        elif any(event in STOP_EVENTS for _, event, _ in list_awaited_events(jobs[name])):
            message = f'cannot be "{name}": this job runs because of a stop, which waits for no check; remove it'
            yield Finding((*path, "before"), message, related_paths=list_job_name_paths(spec))
