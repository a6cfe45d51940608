"""Run every machine of one supervisor, and route events between them.

Theory of operation. `feed` takes one cue with its time, `tick` handles the deadlines that have come; both return the
effects in order: actions for the shell, events for the listeners. Inside, an event that a machine emits goes into one
queue and is handled by everything in the same order: by every job's `when`, then by the lifetime, then by the jobs that
it is about. So all jobs see all events in one order, and no event is lost between a start and a subscription. When the
queue is empty, the core reconciles: it looks for jobs that are over, waits that can never be met, and the next group to
stop.

The core opens no file, reads no clock (`now` is an argument, and for jobs with `cron` the wall clock too) and draws its
randomness from the generator that it is given: a day of a worker node runs in a test in milliseconds.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator

from autopilot.machines import (
    boot_success,
    cron_schedule,
    cues,
    events,
    health,
    job,
    lifetime,
    outcomes,
    plan_changes,
    shutdown,
    triggers,
)
from autopilot.machines.actions import Action, Outcome, Signal
from autopilot.machines.deadlines import is_due
from autopilot.machines.job_record import JobRecord
from autopilot.machines.job_replacer import JobReplacer
from autopilot.machines.job_set import JobSet
from autopilot.machines.shutdown import Input as ShutdownInput
from autopilot.machines.shutdown import ShutdownState
from autopilot.machines.shutdown_control import ShutdownControl
from autopilot.spec.plan import Drain, Lifetime, Plan

Effect = Action | events.Event


class Core:
    """All machines of one supervisor. Moments are seconds on one clock that never goes back."""

    def __init__(
        self, plan: Plan, *, rng: random.Random, now: float, next_time: cron_schedule.NextTime = lambda *_: None
    ) -> None:
        """Create the machines of a plan.

        Args:
            plan: The plan.
            rng: The source of all randomness.
            now: Seconds on the core's clock.
            next_time: Finds the next time of a `cron` expression.
        """
        self.plan = plan
        self.job_set = JobSet(
            plan,
            rng=rng,
            now=now,
            next_time=next_time,
            emit=self._emit,
            must_wait_before_stop=self._must_wait_before_stop,
        )
        self._shutdown_control = ShutdownControl(plan, self.job_set, self._emit)
        self._job_replacer = JobReplacer(self.job_set, plan)
        self.lifetime_plan = _get_lifetime_plan(plan)
        self.lifetime = lifetime.LifetimeState()
        self.outer_job: events.OuterEndChanged | None = None
        self.boot_success = boot_success.BootSuccess()
        self.payloads: tuple[str, ...] = ()
        self.conditions: dict[str, str] = {}
        self._rng = rng
        self._now = now
        self._pending_events: deque[events.Event] = deque()
        self._effects: list[Effect] = []

    # --- in and out ---

    def begin(self, now: float, wall: float = 0.0) -> list[Effect]:
        """Start the life.

        Args:
            now: Seconds on the core's clock.
            wall: The wall clock at the same moment, in seconds since the epoch.
        """
        return self._process(now, wall, lambda: self._emit(events.SupervisorStarted()))

    def feed(self, cue: cues.Cue, now: float, wall: float = 0.0) -> list[Effect]:
        """Handle one cue. `now` and `wall` are those of `begin`."""
        return self._process(now, wall, lambda: self._handle_cue(cue))

    def tick(self, now: float, wall: float = 0.0) -> list[Effect]:
        """Handle every deadline that has come. `now` and `wall` are those of `begin`."""
        return self._process(now, wall, self._handle_deadlines)

    def get_deadline(self) -> float | None:
        """Return the moment of the next `tick`; None when only a cue can change the state."""
        return min((deadline for deadline in self._list_deadlines() if deadline is not None), default=None)

    @property
    def is_ending(self) -> bool:
        """True from the beginning of the shutdown on."""
        return self._shutdown_control.is_ending

    @property
    def shutdown(self) -> ShutdownState:
        """State of the shutdown machine."""
        return self._shutdown_control.state

    @property
    def job_records(self) -> dict[str, JobRecord]:
        """Jobs by name, in the job spec's order."""
        return self.job_set.job_records

    def list_healthy_jobs(self) -> set[str]:
        """Return the names of the jobs whose check passes."""
        return {name for name, record in self.job_records.items() if record.health.status is health.Status.HEALTHY}

    @property
    def stopped_by_operator(self) -> frozenset[str]:
        """Names of the jobs that an operator has stopped."""
        return frozenset(self.job_set.stopped_by_operator)

    def _list_deadlines(self) -> Iterator[float | None]:
        yield self.job_set.find_deadline()
        yield self.lifetime.deadline
        yield self.shutdown.deadline
        yield self.boot_success.deadline

    def _process(self, now: float, wall: float, body: Callable[[], None]) -> list[Effect]:
        self._now, self._effects = now, []
        self.job_set.set_time(now, wall_offset=wall - now)
        body()
        while self._pending_events:
            self._handle_event(self._pending_events.popleft())
            if not self._pending_events:
                self._reconcile()
        return self._effects

    def _emit(self, *effects: Effect) -> None:
        self._effects.extend(effects)
        self._pending_events.extend(effect for effect in effects if isinstance(effect, events.Event))

    # --- cues ---

    def _handle_cue(self, cue: cues.Cue) -> None:  # noqa: PLR0912, PLR0915 - one arm for each cue
        match cue:
            case cues.Spawned():
                self.job_set.handle_run_cue(cue.job, cue.run, job.Input.SPAWNED, pid=cue.pid)
            case cues.Exited():
                self.job_set.handle_run_cue(cue.job, cue.run, job.Input.EXITED, exited=cue)
            case cues.GroupEmptied():
                self.job_set.handle_run_cue(cue.job, cue.run, job.Input.EMPTIED)
            case cues.CheckFinished():
                self.job_set.handle_check_result(cue)
            case cues.GateAnswered():
                self.job_set.gates.handle_answer(cue, self._now)
            case cues.PayloadsObserved():
                self._update_payloads(cue.payloads)
            case cues.PayloadsCounted():
                self._step_lifetime(lifetime.Input.TAKEN, taken=cue.count)
            case cues.PayloadsCrashed():
                self._shutdown_control.lost_payloads.update(cue.payloads)
                self._emit(events.PayloadsLost(cue.payloads, cue.cause))
            case cues.PayloadEndsFound():
                self._emit(events.PayloadsFinished(cue.payloads, cue.failed_fast))
            case cues.OuterEndObserved():
                self._update_outer_end(cue)
            case cues.Drained():
                self._step_lifetime(lifetime.Input.DRAINED)
            case cues.Evicted():
                self._shutdown_control.evicting = False
                self._emit(events.PayloadsEvicted())
            case cues.ConditionDetected():
                self.conditions[cue.kind] = cue.detail
                self._emit(events.ConditionRaised(cue.kind, cue.detail))
            case cues.ConditionResolved():
                self.conditions.pop(cue.kind, None)
                self._emit(events.ConditionCleared(cue.kind))
            case cues.WatchChanged():
                self.job_set.watches[cue.watch] = cue.healthy
                end = events.WatchHealthy if cue.healthy else events.WatchUnhealthy
                self._emit(events.WatchChanged(cue.watch), end(cue.watch))
            case cues.TemplateWritten():
                self._emit(events.TemplateWritten(cue.path))
                self._notify_template_jobs(cue)
            case cues.TemplateRendered():
                self.job_set.rendered_templates[cue.path] = cue.name
                self._emit(events.TemplateRendered(cue.name))
                if not self.is_ending:
                    self.job_set.release_held_starts()
            case cues.PermitGranted():
                self._step_lifetime(lifetime.Input.PERMITTED)
            case cues.PermitLost() if cue.job in self.job_records:
                self._recycle_unless_unwanted(self.job_records[cue.job], "was ended because its lock was lost")
            case cues.Deregistered():
                self._shutdown_control.deregistered = True
                self.job_set.release_waiting_stops()
            case cues.PlanChanged() if not self.is_ending:  # nothing of a life that is ending changes any more
                self._adopt_plan(cue.plan)
            case cues.SignalArrived():
                self._emit(events.SignalReceived(cue.name))
            case cues.RequestReceived():
                self._handle_request(cue)

    def _notify_template_jobs(self, cue: cues.TemplateWritten) -> None:
        """Reload and restart the jobs that read a file. A job that starts later reads the file as it starts."""
        if cue.reload in self.job_records:
            self.job_set.step_job(self.job_records[cue.reload], job.Input.RELOAD)
        if cue.restart in self.job_records:
            self._recycle_unless_unwanted(self.job_records[cue.restart], "was ended because its file has changed")

    def _recycle_unless_unwanted(self, record: JobRecord, cause: str) -> None:
        """Restart a running job with back-off; one that an operator or a drain ends must not come back."""
        if not self.is_ending:
            self.job_set.step_job(record, job.Input.RECYCLE, cause=cause)

    def _handle_request(self, request: cues.RequestReceived) -> None:
        match request.request:
            case "terminate":
                self._terminate(request.requested_by)
            case "drain":
                self._start_drain("drain", request.requested_by, request.deadline)
            case "stop":
                self._begin_shutdown(outcomes.build_stop_outcome(request.requested_by))
            case "stop-job":
                self.job_set.stopped_by_operator.add(request.job)
                self.job_set.stop(self.job_records[request.job])
            case "start-job" | "restart-job" if not self.is_ending:  # a life that ends starts no job but its stop hooks
                self.job_set.stopped_by_operator.discard(request.job)
                if not self.job_records[request.job].being_replaced:  # its successor starts by itself
                    on = job.Input.START if request.request == "start-job" else job.Input.RESTART
                    self.job_set.step_job(self.job_records[request.job], on)
            case "signal-job":
                record = self.job_records[request.job]
                if record.state.pid is not None:
                    self._emit(Signal(request.job, record.state.run, request.signal, request.group))
            case "enter-maintenance" | "leave-maintenance":
                self.job_set.set_maintenance(request.request == "enter-maintenance")

    def _terminate(self, requested_by: str) -> None:
        if self.is_ending:
            self._step_shutdown(shutdown.Input.HURRY, requested_by=requested_by)
        elif self.plan.on_sigterm == "drain" and self.lifetime.phase not in lifetime.DRAIN_PHASES:
            self._start_drain("signal", requested_by, None)
        else:
            self._begin_shutdown(outcomes.build_stop_outcome(requested_by))

    def _start_drain(self, reason: str, requested_by: str, deadline_in: float | None) -> None:
        if not self.is_ending:
            self._step_lifetime(lifetime.Input.DRAIN, reason=reason, requested_by=requested_by, deadline_in=deadline_in)

    def _update_payloads(self, payloads: tuple[str, ...]) -> None:
        before, self.payloads = set(self.payloads), payloads
        started = tuple(p for p in payloads if p not in before)
        ended = tuple(sorted(before - set(payloads)))
        if started or ended:
            self._emit(events.PayloadsChanged(payloads, started, ended))
        self._step_lifetime(lifetime.Input.PAYLOADS, busy=bool(payloads))

    def _update_outer_end(self, cue: cues.OuterEndObserved) -> None:
        self.outer_job = events.OuterEndChanged(cue.seconds, cue.epoch, cue.origin)
        self._emit(self.outer_job)
        outer_end = None if cue.seconds is None else self._now + cue.seconds
        self._step_lifetime(lifetime.Input.OUTER_END, outer_end=outer_end)

    def _handle_deadlines(self) -> None:
        self.job_set.handle_deadlines()
        if is_due(self.lifetime.deadline, self._now):
            self._step_lifetime(lifetime.Input.ELAPSED)
        if is_due(self.shutdown.deadline, self._now):
            self._step_shutdown(shutdown.Input.ELAPSED)
        if is_due(self.boot_success.deadline, self._now):
            self.boot_success = boot_success.mark_reached(self.boot_success)
            self._emit(events.BootSucceeded(self.plan.healthy_for))
        if not self._pending_events:  # else `_reconcile` does it
            self._job_replacer.apply_replacements()

    def _adopt_plan(self, plan: Plan) -> None:
        waiting = {name for name, record in self.job_records.items() if record.is_idle and not record.is_in_backoff}
        idle = waiting | self.stopped_by_operator
        self._emit(events.PlanAdopted(plan_changes.compare_plans(self.plan, plan, idle=idle)))
        old, self.plan, self.lifetime_plan = self.plan, plan, _get_lifetime_plan(plan)
        self._shutdown_control.plan = plan
        self._step_lifetime(lifetime.Input.REPLANNED)
        self._job_replacer.apply_plan(old, plan)

    # --- the machines ---

    def _step_lifetime(
        self,
        on: lifetime.Input,
        *,
        busy: bool = False,
        taken: int = 0,
        reason: str = "",
        requested_by: str = "",
        deadline_in: float | None = None,
        outer_end: float | None = None,
    ) -> None:
        self.lifetime, effects = lifetime.step(
            self.lifetime_plan, self.lifetime, on, self._now,
            draw=self._rng.random(), busy=busy, taken=taken, reason=reason, requested_by=requested_by,
            deadline_in=deadline_in, outer_end=outer_end,
        )  # fmt: skip
        self._emit(*effects)

    def _must_wait_before_stop(self, record: JobRecord) -> bool:
        return self._shutdown_control.must_wait_before_stop(record)

    def _step_shutdown(self, on: ShutdownInput, *, outcome: Outcome | None = None, requested_by: str = "") -> None:
        self._shutdown_control.step(on, self._now, outcome=outcome, requested_by=requested_by)

    def _begin_shutdown(self, outcome: Outcome) -> None:
        if self.is_ending:
            return
        self._step_shutdown(shutdown.Input.STOP, outcome=outcome)
        so_far = outcomes.add_losses(outcome, len(self._shutdown_control.lost_payloads))
        self._emit(events.ShutdownBegun(so_far.reason, so_far.detail))
        self.job_set.gates.release_unneeded((), self._now)
        if self.lifetime.phase is not lifetime.Phase.OVER:  # a drain has left no payload to evict
            self._step_lifetime(lifetime.Input.STOP)
            self._shutdown_control.evict_payloads()
        self._shutdown_control.disarm_idle_jobs()

    # --- events ---

    def _handle_event(self, event: events.Event) -> None:
        self.job_set.handle_event(event, ending=self.is_ending)
        self._start_lifetime_on_event(event)
        match event:
            case events.Unhealthy():
                self._handle_unhealthy(self.job_records[event.job], event)
            case events.GateOpened() if not self.is_ending:
                self.job_set.release_held_starts()
            case events.GateFailed() if not self.is_ending:
                self._handle_failed_gate(event)
            case events.DrainBegun():
                self._retire_batch_job()
            case events.DrainDeadlineReached():
                self._step_working_jobs(job.Input.ASK)
            case events.DrainGraceExpired():
                self._step_working_jobs(job.Input.HURRY)
            case events.DrainCompleted():
                reason = self.lifetime.reason
                cause = lifetime.describe_payloads(self.lifetime_plan, self.lifetime) if reason == "payloads" else ""
                self._begin_shutdown(outcomes.build_drain_outcome(reason, forced=event.forced, cause=cause))
            case events.JobStopped():
                self._handle_job_done(self.job_records[event.job])

    def _start_lifetime_on_event(self, event: events.Event) -> None:
        after = self.lifetime_plan.after or triggers.STARTUP_TRIGGERS[0]
        if self.lifetime.phase is lifetime.Phase.NOT_STARTED and triggers.is_match(after, event):
            self._step_lifetime(lifetime.Input.BEGIN)

    def _handle_unhealthy(self, record: JobRecord, event: events.Unhealthy) -> None:
        if self.is_ending:
            return
        reaction = record.plan.health.on_failure if record.plan.health else "event"
        if reaction == "restart":
            self._recycle_unless_unwanted(record, "was ended because it was unhealthy")
        elif reaction == "drain":
            self._start_drain("check-failed", f"{event.job} is unhealthy", None)
        elif reaction == "shutdown":
            self._begin_shutdown(outcomes.build_check_outcome(event.job, event.output))

    def _handle_failed_gate(self, event: events.GateFailed) -> None:
        if event.on_failure == "start":
            self.job_set.release_held_starts()
        elif event.on_failure != "wait":
            self._begin_shutdown(outcomes.build_gate_outcome(event))

    def _retire_batch_job(self) -> None:
        """Let the batch system's main process end with its drain: that is no failure, and it must not come back."""
        if self.plan.batch is not None and self.lifetime_plan.drain.by_batch_system:
            record = self.job_records[self.plan.batch.job]
            self.job_set.step_job(record, job.Input.RETIRE)
            self.job_set.step_health(record, health.Input.DOWN)

    def _list_working_jobs(self) -> list[JobRecord]:
        """Return the jobs whose work a drain without a batch system ends.

        These are the essential jobs; without any, all jobs with a process but stop hooks and the registry's agent.
        """
        records = [record for record in self.job_records.values() if record.plan.command.argv]
        essential = [record for record in records if record.plan.essential]
        agent = self._shutdown_control.agent_job
        return essential or [record for record in records if not record.is_stop_hook and record.plan.name != agent]

    def _step_working_jobs(self, on: job.Input) -> None:
        """End the work at the deadline of a drain; with a batch system, the payloads are the work."""
        if self.plan.batch is None:
            for record in self._list_working_jobs():
                if not record.is_done:
                    self.job_set.step_health(record, health.Input.DOWN)
                    self.job_set.step_job(record, on)

    def _handle_job_done(self, record: JobRecord) -> None:
        if self.is_ending or record.being_replaced:
            return
        if self._is_end_of_drain(record):
            self._step_lifetime(lifetime.Input.DRAINED)
        elif self.plan.batch is None and self.lifetime.phase in lifetime.FORCED_PHASES:
            if all(record.is_done for record in self._list_working_jobs()):
                self._step_lifetime(lifetime.Input.DRAINED)
        elif record.plan.essential:
            self._begin_shutdown(outcomes.build_essential_job_outcome(record, self.job_records))

    def _is_end_of_drain(self, record: JobRecord) -> bool:
        """Return True when the batch system's main process has ended in order while draining: no payload is left."""
        batch = self.plan.batch
        if batch is None or record.plan.name != batch.job or self.lifetime.phase not in lifetime.DRAIN_PHASES:
            return False
        return not record.state.status or self.lifetime.phase is lifetime.Phase.KILLING

    # --- between two events ---

    def _reconcile(self) -> None:
        self.job_set.release_waiting_stops()
        if self._pending_events:
            return  # a job without a process is over at once: its events come first
        if self.is_ending:
            self._step_shutdown(shutdown.Input.EVENTS_HANDLED)
            return
        self._job_replacer.apply_replacements()
        self.job_set.release_unneeded_gates()
        if not self.boot_success.reached:
            self._update_boot_success()
        if self.job_set.recheck_waits:
            self.job_set.cancel_impossible_waits()
            if not self._pending_events:  # else the events of the abandoned jobs come first
                self.job_set.recheck_waits = False
                if self.job_set.is_work_done(self._shutdown_control.agent_job):
                    self._begin_shutdown(outcomes.build_all_jobs_outcome(self.job_records))

    def _update_boot_success(self) -> None:
        all_good = not self.job_set.list_bad_jobs()
        self.boot_success = boot_success.observe(
            self.boot_success, all_good=all_good, now=self._now, healthy_for=self.plan.healthy_for
        )


def _get_lifetime_plan(plan: Plan) -> Lifetime:
    return plan.lifetime or Lifetime(drain=Drain(by_batch_system=plan.batch is not None))
