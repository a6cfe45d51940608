"""What a new plan changes in a running life, and what it may not change.

Pure. A job is known by its name. What makes its process another one (its command, in the widest sense) restarts it;
everything else is a rule that the running job follows from now on. What a life was built on is settled until its end:
the next life, which is never far, has it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from autopilot.spec.plan import Job, Lifetime, Plan

FIXED_SECTIONS = ("state", "socket", "batch", "consul_agent", "locks")
CONFIG_PATHS = {"socket": "control.socket"}
REMEDY = "it is settled for this life, and the next one will have it (autopilot drain)"


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of jobs, in the order of the new file (those removed: of the old one); `sections`: other keys of the plan
    that are in effect at once."""

    started: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()  # they keep their process and follow other rules
    removed: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.started, self.restarted, self.updated, self.removed, self.sections))


def compare_plans(old: Plan, new: Plan) -> Changes:
    before, after = {job.name: job for job in old.jobs}, {job.name: job for job in new.jobs}
    both = [(before[name], job) for name, job in after.items() if name in before]
    return Changes(
        started=tuple(name for name in after if name not in before),
        restarted=tuple(job.name for was, job in both if must_restart(was, job)),
        updated=tuple(job.name for was, job in both if was != job and not must_restart(was, job)),
        removed=tuple(name for name in before if name not in after),
        sections=tuple(
            field.name
            for field in fields(Plan)
            if field.name not in ("jobs", *FIXED_SECTIONS) and getattr(old, field.name) != getattr(new, field.name)
        ),
    )


def must_restart(old: Job, new: Job) -> bool:
    return old.command != new.command


def list_refusals(old: Plan, new: Plan) -> list[str]:
    """Why `new` cannot be this life's plan: one sentence for each reason."""
    said = [
        f"{_get_config_path(name, old, new)}: cannot change: {REMEDY}"
        for name in FIXED_SECTIONS
        if getattr(old, name) != getattr(new, name)
    ]
    if _get_drain_settings(old.lifetime) != _get_drain_settings(new.lifetime):
        said.append(f"lifetime.drain, lifetime.after: cannot change: {REMEDY}")
    if old.consul != new.consul and (old.locks or old.consul_agent is not None):
        said.append(f"consul: cannot change where there are locks or a consul_agent: {REMEDY}")
    if old.batch is not None:
        said.extend(_list_batch_job_refusals(old, new, old.batch.job))
    return said


def _get_config_path(section: str, old: Plan, new: Plan) -> str:
    """Return the key of the job spec that a section of the plan comes from."""
    batch = old.batch or new.batch
    return batch.system if section == "batch" and batch is not None else CONFIG_PATHS.get(section, section)


def _get_drain_settings(lifetime: Lifetime | None) -> object:
    """How the node is emptied, and from when on its life counts."""
    return None if lifetime is None else (lifetime.drain, lifetime.after, lifetime.queue)


def _list_batch_job_refusals(old: Plan, new: Plan, name: str) -> list[str]:
    was, job = ({j.name: j for j in plan.jobs}.get(name) for plan in (old, new))
    if was is None or (job is not None and not must_restart(was, job)):
        return []
    what = "removed" if job is None else "started another way"
    return [f"jobs[{name}]: cannot be {what}: that would kill the payloads that run; {REMEDY}"]
