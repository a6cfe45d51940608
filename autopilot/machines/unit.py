"""One job with the states of its machines, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autopilot.machines import health, job, when
from autopilot.machines.actions import Outcome
from autopilot.spec.plan import Job, Trigger

FAREWELLS = frozenset({"stopping", "stopped", "shutdown"})
WAITING = frozenset({job.Phase.WAITING, job.Phase.RESTING})
IDLE = WAITING | {job.Phase.DELAYED, job.Phase.BACKOFF}


@dataclass(slots=True)
class Unit:
    plan: Job
    state: job.JobState
    health: health.HealthState
    seen: frozenset[Trigger] = frozenset()
    going: bool = False  # a new plan ends it: `successor` follows when it is over, or nothing
    successor: Job | None = None
    until: float | None = None  # it is over, and its post-stop jobs hold its successor up no longer than this

    @property
    def over(self) -> bool:
        return self.state.phase is job.Phase.DONE

    @property
    def waits(self) -> bool:
        """For its `when`, the first time or again."""
        return self.state.phase in WAITING

    @property
    def missing(self) -> list[Trigger]:
        """What it still waits for."""
        return [trigger for trigger in self.plan.when.triggers if trigger not in self.seen]

    @property
    def idles(self) -> bool:
        """It has no process, or waits for a signal or a person alone: such a job does not keep a container alive."""
        triggers = self.plan.when.triggers
        by_others = bool(triggers) and all(t.source in when.SIGNALS or t.event == when.ASKED for t in triggers)
        return not self.plan.command.argv or (self.waits and by_others)

    def waits_for_stopping(self, source: str) -> bool:
        """It is a pre-stop job of `source`, waiting or running."""
        return not self.over and any(t.source == source and t.event == "stopping" for t in self.plan.when.triggers)

    def waits_for_stopped(self, source: str) -> bool:
        """It is a post-stop job of `source`, waiting or running."""
        return not self.over and any(t.source == source and t.event == "stopped" for t in self.plan.when.triggers)

    @property
    def farewell(self) -> bool:
        """It runs because something stops: the stop waits for it instead of stopping it."""
        return any(trigger.event in FAREWELLS for trigger in self.plan.when.triggers)

    @property
    def well(self) -> bool:
        """Nothing speaks against it now: it has not failed, and is not failing, nor starting, nor unhealthy."""
        if self.state.phase is job.Phase.BACKOFF:
            return False
        if self.over:
            return self.state.asked or not self.state.status
        fine = self.health.status in (health.Status.UNKNOWN, health.Status.HEALTHY)
        return fine or self.state.phase not in job.ALIVE


def outcome_of_essential(unit: Unit) -> Outcome:
    """The essential job is over: its code is the container's, unless somebody asked for its end."""
    name, status = unit.plan.name, unit.state.status or 0
    if unit.state.asked or status == 0:
        return Outcome("completed", f"essential job {name} is over", 0)
    return _failure(unit, f"essential job {name} ended with status {status}")


def outcome_of_work(units: Iterable[Unit]) -> Outcome:
    """All jobs are over and none was called essential: the first failed one, in the file's order, gives the code."""
    for unit in units:
        if unit.state.status and not unit.state.asked:
            name, status = unit.plan.name, unit.state.status
            return _failure(unit, f"all jobs are over; {name} ended with status {status}")
    return Outcome("completed", "all jobs are over", 0)


def _failure(unit: Unit, detail: str) -> Outcome:
    status = unit.state.status or 0
    if unit.state.oom:
        return Outcome("oom", f"{detail}: the container ran out of memory", status)
    return Outcome("job-failed", detail, status)
