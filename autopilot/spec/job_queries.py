"""Answer the questions about the jobs of a spec that rules and compilers share."""

from __future__ import annotations

from autopilot.spec.key_paths import KeyPath
from autopilot.spec.spec_model import Job, Spec
from autopilot.spec.vocabulary import SIGNAL_SOURCES, SUPERVISOR_SOURCES, TELEMETRY_NAME


def list_job_names(spec: Spec) -> list[str]:
    """Return the label of each job, in the order of the spec."""
    return [job.label for job in spec.jobs]


def list_job_name_paths(spec: Spec) -> tuple[KeyPath, ...]:
    """Return the paths that every conclusion about the names of jobs rests on: name and exec of each job."""
    return tuple(("jobs", index, key) for index in range(len(spec.jobs)) for key in ("name", "exec"))


def names_supervisor(spec: Spec, source: str) -> bool:
    """Return True for a source of events that is the supervisor itself.

    Without telemetry a job may have the name that ContainerPilot gives its telemetry, and is meant by it then.
    """
    if source != TELEMETRY_NAME or spec.telemetry is not None:
        return source in SUPERVISOR_SOURCES
    return all(job.label != source for job in spec.jobs)


def list_awaited_events(job: Job, path: KeyPath = ()) -> list[tuple[str, str, KeyPath]]:
    """List the events that a job waits for.

    Args:
        job: The job.
        path: Path of the job's `when`, to which the returned paths are relative.

    Returns:
        Source, event and path of the event, for each event; nothing for a job that waits for none.
    """
    when = job.when
    if when is None:
        return []
    if when.all is not None:
        return [(trigger.source or "", trigger.once, (*path, "all", i, "once")) for i, trigger in enumerate(when.all)]
    if when.once is None and when.each is None:
        return [(when.source, "signal", (*path, "source"))] if when.source in SIGNAL_SOURCES else []
    key = "each" if when.once is None else "once"
    return [(when.source or "", when.once or when.each or "", (*path, key))]
