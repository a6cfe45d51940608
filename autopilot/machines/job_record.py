"""One job with the states of its machines, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autopilot.machines import health, job, triggers
from autopilot.machines.actions import Outcome
from autopilot.spec.plan import Job, Trigger

STOP_HOOK_EVENTS = frozenset({"stopping", "stopped", "shutdown"})
WAITING_PHASES = frozenset({job.Phase.WAITING, job.Phase.RESTING})
IDLE_PHASES = WAITING_PHASES | {job.Phase.DELAYED, job.Phase.BACKOFF}


@dataclass(slots=True)
class JobRecord:
    plan: Job
    state: job.JobState
    health: health.HealthState
    matched_triggers: frozenset[Trigger] = frozenset()
    being_replaced: bool = False  # a new plan ends it: `successor` follows when it is over, or nothing
    successor: Job | None = None
    replace_deadline: float | None = (
        None  # it is over, and its post-stop jobs hold its successor up no longer than this
    )

    @property
    def is_done(self) -> bool:
        return self.state.phase is job.Phase.DONE

    @property
    def is_waiting(self) -> bool:
        """For its `when`, the first time or again."""
        return self.state.phase in WAITING_PHASES

    @property
    def missing_triggers(self) -> list[Trigger]:
        """What it still waits for."""
        return [trigger for trigger in self.plan.when.triggers if trigger not in self.matched_triggers]

    @property
    def is_passive(self) -> bool:
        """It has no process, or waits for a signal or a person alone: such a job does not keep a container alive."""
        waits_for = self.plan.when.triggers
        by_others = bool(waits_for) and all(
            t.source in triggers.TRIGGER_SIGNALS or t.event == triggers.MANUAL_START_EVENT for t in waits_for
        )
        return not self.plan.command.argv or (self.is_waiting and by_others)

    def is_pre_stop_hook_of(self, source: str) -> bool:
        """It is a pre-stop job of `source`, waiting or running."""
        return not self.is_done and any(t.source == source and t.event == "stopping" for t in self.plan.when.triggers)

    def is_post_stop_hook_of(self, source: str) -> bool:
        """It is a post-stop job of `source`, waiting or running."""
        return not self.is_done and any(t.source == source and t.event == "stopped" for t in self.plan.when.triggers)

    @property
    def is_stop_hook(self) -> bool:
        """It runs because something stops: the stop waits for it instead of stopping it."""
        return any(trigger.event in STOP_HOOK_EVENTS for trigger in self.plan.when.triggers)

    @property
    def counts_as_good(self) -> bool:
        """Nothing speaks against it now: it has not failed, and is not failing, nor starting, nor unhealthy."""
        if self.state.phase is job.Phase.BACKOFF:
            return False
        if self.is_done:
            return self.state.stop_requested or not self.state.status
        fine = self.health.status in (health.Status.UNKNOWN, health.Status.HEALTHY)
        return fine or self.state.phase not in job.ALIVE_PHASES


def build_essential_job_outcome(record: JobRecord) -> Outcome:
    """The essential job is over: its code is the container's, unless somebody asked for its end."""
    name, status = record.plan.name, record.state.status or 0
    if record.state.stop_requested or status == 0:
        return Outcome("completed", f"essential job {name} is over", 0)
    return _build_failure_outcome(record, f"essential job {name} ended with status {status}")


def build_all_jobs_outcome(records: Iterable[JobRecord]) -> Outcome:
    """All jobs are over and none was called essential: the first failed one, in the file's order, gives the code."""
    for unit in records:
        if unit.state.status and not unit.state.stop_requested:
            name, status = unit.plan.name, unit.state.status
            return _build_failure_outcome(unit, f"all jobs are over; {name} ended with status {status}")
    return Outcome("completed", "all jobs are over", 0)


def _build_failure_outcome(record: JobRecord, detail: str) -> Outcome:
    status = record.state.status or 0
    if record.state.oom:
        return Outcome("oom", f"{detail}: the container ran out of memory", status)
    return Outcome("job-failed", detail, status)
