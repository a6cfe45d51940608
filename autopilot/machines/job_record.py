"""Hold one job with the states of its machines, and answer questions about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autopilot.machines import health, job, triggers
from autopilot.spec.plan import Job, Trigger
from autopilot.spec.vocabulary import STOP_EVENTS

STOP_HOOK_EVENTS = frozenset(STOP_EVENTS)


@dataclass(slots=True)
class JobRecord:
    """One job: its plan, the states of its machines, and its part in a reload."""

    plan: Job
    state: job.JobState
    health: health.HealthState
    matched_triggers: frozenset[Trigger] = frozenset()
    held_for: tuple[str, ...] = ()  # templates that the job's start waits for, its `when` being true
    held_by: tuple[str, ...] = ()  # gates that it waits for then, when the templates are rendered
    being_replaced: bool = False  # a new plan ends it: `successor` follows when it is over, or no job
    successor: Job | None = None
    replace_deadline: float | None = None  # the job is over; its post-stop jobs delay its successor no longer than this

    @property
    def first_deadline(self) -> float:
        """Earliest moment at which one of the job's machines acts by itself; infinite when there is none."""
        deadlines = (self.state.deadline, self.health.deadline, self.replace_deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=math.inf)

    @property
    def is_done(self) -> bool:
        """True when the job is over."""
        return self.state.phase is job.Phase.DONE

    @property
    def is_alive(self) -> bool:
        """True while a run of the job is under way, its stop included."""
        return self.state.phase in job.ALIVE_PHASES

    @property
    def is_idle(self) -> bool:
        """True while no run is under way, but one may follow."""
        return self.state.phase in job.IDLE_PHASES

    @property
    def is_in_backoff(self) -> bool:
        """True while the job waits for its next restart."""
        return self.state.phase is job.Phase.BACKOFF

    @property
    def is_waiting(self) -> bool:
        """True while the job waits for its `when`, the first time or again."""
        return self.state.phase in job.WAITING_PHASES

    @property
    def is_held(self) -> bool:
        """True while templates or gates keep the job from starting, its `when` being true."""
        return bool(self.held_for or self.held_by)

    @property
    def missing_triggers(self) -> list[Trigger]:
        """Triggers of the `when` that have not matched yet."""
        return [trigger for trigger in self.plan.when.triggers if trigger not in self.matched_triggers]

    @property
    def is_passive(self) -> bool:
        """True for a job that does not keep a container alive.

        It has no process, or it waits for a signal or an operator alone.
        """
        waits_for = self.plan.when.triggers
        by_request = bool(waits_for) and all(
            t.source in triggers.TRIGGER_SIGNALS or t.event == triggers.MANUAL_START_EVENT for t in waits_for
        )
        return not self.plan.command.argv or (self.is_waiting and by_request)

    def is_pre_stop_hook_of(self, source: str) -> bool:
        """Return True for a pre-stop job of `source` that waits or runs."""
        return self._is_hook_of(source, "stopping")

    def is_post_stop_hook_of(self, source: str) -> bool:
        """Return True for a post-stop job of `source` that waits or runs."""
        return self._is_hook_of(source, "stopped")

    def _is_hook_of(self, source: str, event: str) -> bool:
        return not self.is_done and any(t.source == source and t.event == event for t in self.plan.when.triggers)

    @property
    def is_stop_hook(self) -> bool:
        """True for a job that runs because of a stop: the shutdown waits for it instead of stopping it."""
        return any(trigger.event in STOP_HOOK_EVENTS for trigger in self.plan.when.triggers)

    @property
    def counts_as_good(self) -> bool:
        """True unless the job has failed, is in its back-off or before a closed gate, or is starting or unhealthy."""
        if self.is_in_backoff or self.held_by:
            return False
        if self.is_done or self.state.run_over:
            return self.state.stop_requested or not self.state.status
        return self.health.status in (health.Status.UNKNOWN, health.Status.HEALTHY) or not self.is_alive
