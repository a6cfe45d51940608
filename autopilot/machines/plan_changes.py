"""Compare a new plan with that of the running life, and refuse changes that a running life cannot take.

A job is known by its name. A change of its command (user, environment and limits included) restarts it; any other
change is a rule that the running job follows from now on. Sections that the whole life was built on stay as they are
until its end; the next life has the new ones.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

from autopilot.spec.plan import Job, Lifetime, Plan

FIXED_SECTIONS = ("state", "socket", "batch", "consul_agent", "locks")
CONFIG_PATHS = {"socket": "control.socket"}
REMEDY = "it is fixed for this life, and the next one will have it (autopilot drain)"


@dataclass(frozen=True, slots=True)
class Changes:
    """Differences of two plans: names of jobs, and of other sections that take effect at once.

    Names are in the order of the new file, those of removed jobs in the order of the old one.
    """

    added: tuple[str, ...] = ()  # they start when their `when` comes true
    restarted: tuple[str, ...] = ()  # they need another process
    updated: tuple[str, ...] = ()  # they keep their process, if they have one, and follow other rules
    removed: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.added, self.restarted, self.updated, self.removed, self.sections))


def compare_plans(old: Plan, new: Plan, *, idle: Collection[str] = ()) -> Changes:
    """Return the differences of two plans.

    Args:
        old: The plan before.
        new: The plan after.
        idle: Names of jobs without a process to restart, as far as known.
    """
    before, after = {job.name: job for job in old.jobs}, {job.name: job for job in new.jobs}
    both = [(before[name], job) for name, job in after.items() if name in before]
    restarted = tuple(job.name for was, job in both if must_restart(was, job) and job.name not in idle)
    return Changes(
        added=tuple(name for name in after if name not in before),
        restarted=restarted,
        updated=tuple(job.name for was, job in both if was != job and job.name not in restarted),
        removed=tuple(name for name in before if name not in after),
        sections=tuple(
            field.name
            for field in fields(Plan)
            if field.name not in ("jobs", *FIXED_SECTIONS) and getattr(old, field.name) != getattr(new, field.name)
        ),
    )


def must_restart(old: Job, new: Job) -> bool:
    """Return True when the new plan of a job needs another process."""
    return old.command != new.command


def list_refusals(old: Plan, new: Plan) -> list[str]:
    """Return the reasons for which `new` cannot be this life's plan, a sentence each."""
    reasons = [
        f"{_get_config_path(name, old, new)}: cannot change: {REMEDY}"
        for name in FIXED_SECTIONS
        if getattr(old, name) != getattr(new, name)
    ]
    if _get_drain_settings(old.lifetime) != _get_drain_settings(new.lifetime):
        reasons.append(f"lifetime.drain, lifetime.after: cannot change: {REMEDY}")
    if _get_outer_job_source(old.lifetime) != _get_outer_job_source(new.lifetime):
        reasons.append(f"lifetime.within: only margin can change: {REMEDY}")
    if old.consul != new.consul and (old.locks or old.consul_agent is not None):
        reasons.append(f"consul: cannot change where there are locks or a consul_agent: {REMEDY}")
    if old.batch is not None:
        reasons.extend(_list_batch_job_refusals(old, new, old.batch.job))
    return reasons


def _get_config_path(section: str, old: Plan, new: Plan) -> str:
    """Return the key of the job spec that a section of the plan comes from."""
    batch = old.batch or new.batch
    return batch.system if section == "batch" and batch is not None else CONFIG_PATHS.get(section, section)


def _get_drain_settings(lifetime: Lifetime | None) -> object:
    """Return the settings of the drain, and of the moment from which the life counts."""
    return None if lifetime is None else (lifetime.drain, lifetime.after, lifetime.queue)


def _get_outer_job_source(lifetime: Lifetime | None) -> object:
    """Return how the end of the batch job around the supervisor is found, and how often; None where it is not."""
    if lifetime is None or lifetime.within is None:
        return None
    return lifetime.within.command, lifetime.within.poll


def _list_batch_job_refusals(old: Plan, new: Plan, name: str) -> list[str]:
    was, job = ({j.name: j for j in plan.jobs}.get(name) for plan in (old, new))
    if was is None or (job is not None and not must_restart(was, job)):
        return []
    change = "removed" if job is None else "started another way"
    return [f"jobs[{name}]: cannot be {change}: that would kill the payloads that run; {REMEDY}"]
