"""Carry out the ordered shutdown: step its machine, stop the groups of jobs, and delay stops that must wait."""

from __future__ import annotations

from collections.abc import Callable

from autopilot.machines import events, job, outcomes, shutdown
from autopilot.machines.actions import Action, EvictPayloads, Finish, Outcome
from autopilot.machines.job_record import JobRecord
from autopilot.machines.job_set import JobSet
from autopilot.spec.plan import Plan


class ShutdownControl:
    """The shutdown machine with the jobs that it stops.

    Attributes:
        plan: The plan that is followed now.
        state: State of the shutdown machine.
        evicting: Payloads are being returned, so the batch system's main process is not stopped yet.
        deregistered: Our services are out of the registry, so its agent may stop.
        lost_payloads: Payloads under which the batch system crashed; they count until the very end of the stop.
    """

    def __init__(self, plan: Plan, job_set: JobSet, emit: Callable[[Action | events.Event], None]) -> None:
        """Create the machine; `emit` takes actions and events in order."""
        self.plan = plan
        self.state = shutdown.ShutdownState()
        self.evicting = False
        self.deregistered = False
        self.lost_payloads: set[str] = set()
        self._job_set, self._emit = job_set, emit

    @property
    def is_ending(self) -> bool:
        """True from the beginning of the shutdown on."""
        return self.state.phase is not shutdown.Phase.UP

    @property
    def agent_job(self) -> str | None:
        """Job of the registry's agent; it stops when our services are deregistered."""
        return None if self.plan.consul_agent is None else self.plan.consul_agent.job

    def must_wait_before_stop(self, record: JobRecord) -> bool:
        """Return True while a job may not be stopped yet: payloads are being returned, or services are registered.

        The former concerns the batch system's main process, the latter the registry's agent.
        """
        batch, name = self.plan.batch, record.plan.name
        returns_payloads = self.evicting and batch is not None and name == batch.job
        return returns_payloads or (name == self.agent_job and not self.deregistered)

    def step(self, on: shutdown.Input, now: float, *, outcome: Outcome | None = None, requested_by: str = "") -> None:
        """Step the shutdown machine and carry out its commands.

        Args:
            on: The input.
            now: Seconds on the core's clock.
            outcome: The outcome of the life, with the input STOP.
            requested_by: The cause of a hurry, with the input HURRY.
        """
        self.state, commands = shutdown.step(
            self.state,
            on,
            now,
            remaining_orders=tuple(sorted({record.plan.stop.order for record in self._job_set.list_remaining()})),
            outcome=outcome,
            budget=self.plan.stop_timeout,
            requested_by=requested_by,
        )
        for command in commands:
            self._execute(command)

    def evict_payloads(self) -> None:
        """Give running payloads back to their queue, if there is a batch system."""
        if self.plan.batch is not None:
            self.evicting = True
            self._emit(EvictPayloads())

    def disarm_idle_jobs(self) -> None:
        """Stop all jobs that only wait; from now on nothing but stop hooks starts."""
        for record in self._job_set.job_records.values():
            if record.is_idle and not record.is_stop_hook:
                self._job_set.step_job(record, job.Input.STOP)

    def _execute(self, command: shutdown.ShutdownCommand) -> None:
        match command:
            case shutdown.StopGroup():
                for record in self._job_set.list_remaining():
                    if record.plan.stop.order == command.order and not record.is_stop_hook:
                        self._job_set.stop(record)
            case shutdown.KillAll():
                self._emit(events.ShutdownForced(command.requested_by, self._list_remaining_names()))
                for record in self._job_set.list_remaining():
                    self._job_set.step_job(record, job.Input.HURRY)
            case shutdown.FinishShutdown():
                assert self.state.outcome is not None, "a shutdown has an outcome from its first step"
                outcome = outcomes.add_losses(self.state.outcome, len(self.lost_payloads))
                self._emit(Finish(outcome, self._list_remaining_names()))

    def _list_remaining_names(self) -> tuple[str, ...]:
        return tuple(record.plan.name for record in self._job_set.list_remaining())
