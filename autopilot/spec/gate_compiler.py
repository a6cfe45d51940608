"""Compile the gates of a spec: fill in the jobs that they guard, the user that asks, and the remedy for people."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from autopilot.spec import plan as p
from autopilot.spec import spec_model as m
from autopilot.spec.extensions import load_check_kind
from autopilot.spec.job_queries import list_awaited_events, list_job_names
from autopilot.spec.vocabulary import STOP_EVENTS

# Of the kinds whose answer does not tell what to do.
REMEDIES = {
    "exec": "run its command by hand in this container",
    "http": "look at the service, and at the network between it and this container",
    "tcp": "look at the service, and at the network between it and this container",
    "path": "mount it into the container, or correct its rights",
    "space": "make room there, or give it a larger volume",
    "limit": "raise it by `limits` of the job, or by --ulimit or --pids-limit of the container engine",
    "valid": "renew it, or correct the mount that brings it",
    "resolves": "correct the name, or the DNS servers of the container",
}

BuildCommand = Callable[[m.Job, tuple[str, ...]], p.Command]


def compile_gates(spec: m.Spec, build_command: BuildCommand) -> tuple[p.Gate, ...]:
    """Return the gates of a spec that has passed all rules.

    Args:
        spec: The spec.
        build_command: Returns a command that runs as a job does.
    """
    return tuple(_compile_gate(spec, gate, build_command) for gate in spec.checks)


def _compile_gate(spec: m.Spec, gate: m.Gate, build_command: BuildCommand) -> p.Gate:
    kind = gate.given_kinds[0]
    # it is asked as its first job would ask; one before all jobs is asked as the supervisor itself
    asker = next((job for job in spec.jobs if gate.before and job.label == gate.before[0]), m.Job())
    probe = load_check_kind(kind).compile_probe(
        getattr(gate, kind), build_command=partial(build_command, asker), raw=False
    )
    return p.Gate(
        name=gate.name,
        probe=probe,
        before=gate.before or _list_all_jobs(spec),
        retry=gate.retry,
        attempt_timeout=gate.attempt_timeout,
        timeout=gate.timeout,
        on_failure=gate.on_failure,
        remedy=gate.remedy or REMEDIES.get(kind, ""),
    )


def _list_all_jobs(spec: m.Spec) -> tuple[str, ...]:
    """Return the names of all jobs but those that run because of a stop."""
    hooks = {job.label for job in spec.jobs if any(event in STOP_EVENTS for _, event, _ in list_awaited_events(job))}
    return tuple(name for name in list_job_names(spec) if name not in hooks)
