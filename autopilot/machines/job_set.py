"""The crew: the jobs of one supervisor, each as a unit, and what one of them means to the others.

Theory of operation. The core routes; the crew knows the units: who waits for which event, whose pre- and post-stop jobs
go first, what is over and what can never happen any more. A new plan meets each unit once (`machines.succession` says
what becomes of it); one that has to go stays, as `going`, until its last process and its farewells are over, and then
makes room for its successor. So old and new never overlap, and nobody else is touched.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from autopilot.machines import cron_schedule, cues, events, health, job, job_replacement, triggers
from autopilot.machines.actions import Action
from autopilot.machines.backoff import FailureStreak
from autopilot.machines.job_record import IDLE_PHASES, STOP_HOOK_EVENTS, JobRecord
from autopilot.machines.job_replacement import ReloadStep
from autopilot.spec.plan import Job, Plan


class JobSet:
    """`now` and `ahead` (of the wall clock) are set by the core before each turn.

    `emit` takes effects; `others_go_first`: something outside the crew has to happen before this unit is stopped.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        rng: random.Random,
        now: float,
        next_time: cron_schedule.NextTime,
        emit: Callable[[*tuple[Action | events.Event, ...]], None],
        must_wait_before_stop: Callable[[JobRecord], bool],
    ) -> None:
        self.now, self.wall_offset = now, 0.0
        self.job_records = {p.name: job_replacement.build_record(p, now) for p in plan.jobs}
        self.watches: dict[str, bool] = {}  # healthy or not, as far as known
        self.maintenance = False
        self.stopped_by_operator: set[str] = set()  # stopped by a person: their end is not the work's end
        self.replacing_jobs = False  # a new plan's predecessors are on their way out
        self.recheck_waits = False  # since the last stock-taking
        self._stop_timeout = plan.stop_timeout
        self._rng, self._next_time = rng, next_time
        self._emit, self._must_wait_before_stop = emit, must_wait_before_stop
        self._waiting_by_trigger = self._group_by_trigger()

    # --- the machines ---

    def list_deadlines(self) -> Iterator[float | None]:
        for unit in self.job_records.values():
            yield unit.state.deadline
            yield unit.health.deadline
            yield unit.replace_deadline

    def handle_deadlines(self) -> None:
        def is_due(deadline: float | None) -> bool:
            return deadline is not None and deadline <= self.now

        for unit in self.job_records.values():
            if is_due(unit.state.deadline):
                self.step_job(unit, job.Input.ELAPSED)
            if is_due(unit.health.deadline):
                self.step_health(unit, health.Input.ELAPSED)

    def handle_run_cue(
        self, name: str, run: int, on: job.Input, *, exited: cues.Exited | None = None, pid: int | None = None
    ) -> None:
        """What the shell says of one run; said of an earlier run, or of a job that is gone, it comes too late."""
        unit = self.job_records.get(name)
        if unit is not None and run == unit.state.run:
            self.step_job(unit, on, exited=exited, pid=pid)

    def handle_check_result(self, cue: cues.CheckFinished) -> None:
        unit = self.job_records.get(cue.job)
        if unit is not None and cue.run == unit.health.run:
            self.step_health(unit, health.Input.PASSED if cue.passed else health.Input.FAILED, output=cue.output)

    def step_job(
        self, record: JobRecord, on: job.Input, *, exited: cues.Exited | None = None, pid: int | None = None
    ) -> None:
        record.state, effects = job.step(
            record.plan,
            record.state,
            on,
            self.now,
            exited=exited,
            pid=pid,
            draw=self._rng.random(),
            clock=None if record.plan.when.cron is None else cron_schedule.Clock(self.wall_offset, self._next_time),
        )
        self._emit(*effects)

    def step_health(self, record: JobRecord, on: health.Input, *, output: str = "") -> None:
        if record.plan.health is not None:
            name, plan = record.plan.name, record.plan.health
            record.health, effects = health.step(
                name, plan, record.health, on, self.now, run=record.state.run, output=output
            )
            self._emit(*effects)

    def set_maintenance(self, enabled: bool) -> None:
        """In maintenance nothing is checked: what a person does to a service then is no illness."""
        if self.maintenance is enabled:
            return
        self.maintenance = enabled
        self._emit(events.MaintenanceEntered() if enabled else events.MaintenanceExited())
        for unit in self.job_records.values():
            if unit.state.phase is job.Phase.RUNNING:
                self.step_health(unit, health.Input.DOWN if enabled else health.Input.UP)

    # --- events ---

    def handle_event(self, event: events.Event, *, ending: bool) -> None:
        """Every unit hears every fact; while everything ends, only farewells come true."""
        for unit in self._waiting_by_trigger.get((event.source, event.trigger_name), ()):
            if unit.being_replaced and not unit.is_stop_hook:
                continue
            unit.matched_triggers, true = triggers.apply_event(unit.plan.when, unit.matched_triggers, event)
            if true and (unit.is_stop_hook or not ending):
                self.step_job(unit, job.Input.TRIGGERED)
        match event:
            case events.JobStarted() if not self.maintenance:
                self.step_health(self.job_records[event.job], health.Input.UP)
            case events.JobExited():
                unit = self.job_records[event.job]
                self.step_health(unit, health.Input.DOWN)
                if unit.plan.when.each:  # what it waits for again may have become impossible while it ran
                    self.recheck_waits = True
            case events.JobStopped():
                self.recheck_waits = True
                self.step_health(self.job_records[event.job], health.Input.DOWN)

    def _group_by_trigger(self) -> dict[tuple[str, str], list[JobRecord]]:
        waiting: dict[tuple[str, str], list[JobRecord]] = {}
        for unit in self.job_records.values():
            for trigger in triggers.list_triggers(unit.plan.when):
                waiting.setdefault(triggers.get_trigger_key(trigger), []).append(unit)
        return waiting

    # --- stops ---

    def list_remaining(self) -> list[JobRecord]:
        """The jobs a stop has to wait for: not those armed for a farewell that has not come."""
        return [
            u
            for u in self.job_records.values()
            if not u.is_done and not (u.is_stop_hook and u.state.phase in IDLE_PHASES)
        ]

    def stop(self, record: JobRecord) -> None:
        """Once its pre-stop jobs are over."""
        awaited = any(other.is_pre_stop_hook_of(record.plan.name) for other in self.job_records.values())
        self.step_job(record, job.Input.HOLD if awaited or self._must_wait_before_stop(record) else job.Input.STOP)

    def release_waiting_stops(self) -> None:
        for unit in self.job_records.values():
            if unit.state.phase is job.Phase.HOLDING:
                name = unit.plan.name
                pre_stop = [other for other in self.job_records.values() if other.is_pre_stop_hook_of(name)]
                busy = any(other.state.phase in job.ALIVE_PHASES for other in pre_stop)
                if not busy and not self._must_wait_before_stop(unit):
                    self.step_job(unit, job.Input.RELEASE)

    # --- when all news is heard ---

    def apply_replacements(self) -> None:
        """Only when all news is heard: what was said of a unit must not meet its successor."""
        if self.replacing_jobs:
            self._replace_finished_jobs()

    def cancel_impossible_waits(self) -> None:
        """A job that waits for an event of a job that is over would wait for ever."""
        over = {
            name for name, unit in self.job_records.items() if unit.is_done and not unit.being_replaced
        } - self.stopped_by_operator
        for unit in self.job_records.values():
            if unit.is_waiting and any(trigger.source in over for trigger in unit.missing_triggers):
                self.step_job(unit, job.Input.ABANDON)

    def is_work_done(self, consul_agent_job: str | None) -> bool:
        """Every job that works is over; the registry's `agent` is there for the others."""
        units = [unit for name, unit in self.job_records.items() if name != consul_agent_job]
        if self.stopped_by_operator or self.replacing_jobs or not any(unit.is_done for unit in units):
            return False
        return all(unit.is_done or unit.is_passive for unit in units)

    # --- another plan ---

    def apply_plan(self, old: Plan, plan: Plan) -> None:
        if old.consul != plan.consul:
            self.watches.clear()
        for name in {watch.name for watch in {*old.watches} ^ {*plan.watches}}:
            self.watches.pop(name, None)  # what was seen of another watch says nothing
        before, planned = self.job_records, {job.name: job for job in plan.jobs}
        leaving = {name: unit for name, unit in before.items() if name not in planned}
        fresh = {
            name: job_replacement.build_record(job, self.now) for name, job in planned.items() if name not in before
        }
        self.job_records = {name: fresh.get(name) or before[name] for name in planned} | leaving
        self.stopped_by_operator &= planned.keys()
        self._stop_timeout, self.replacing_jobs, self.recheck_waits = plan.stop_timeout, True, True
        for unit in sorted(before.values(), key=lambda unit: unit.is_stop_hook):  # whom they say goodbye to goes first
            self._apply_plan_to_job(unit, planned.get(unit.plan.name))
        self._waiting_by_trigger = self._group_by_trigger()
        for unit in fresh.values():
            self._trigger_if_met(unit)

    def _apply_plan_to_job(self, record: JobRecord, planned: Job | None) -> None:
        """One unit comes to the new plan."""
        name = record.plan.name
        what = job_replacement.choose_reload_step(record, planned, stopped_by_operator=name in self.stopped_by_operator)
        if what is ReloadStep.REMOVE and self._is_hook_of_replaced_job(record):
            record.being_replaced = True
        elif what is ReloadStep.REMOVE:
            del self.job_records[name]
        elif what in (ReloadStep.STOP, ReloadStep.REPLACE):
            already, record.being_replaced, record.successor = record.being_replaced, True, planned
            if not already:
                self._stop_for_replacement(record)
        elif planned is not None:
            self._update_rules(record, planned)
            if what is ReloadStep.START_NOW:
                record.state = replace(record.state, streak=FailureStreak())
                self.step_job(record, job.Input.START)
            elif what is ReloadStep.REARM:
                self._replace_record(record, planned)

    def _stop_for_replacement(self, record: JobRecord) -> None:
        """Its pre-stop jobs have the time they were given, and never more than a stop's."""
        self.stop(record)
        if record.state.phase is job.Phase.HOLDING and record.state.deadline is None:
            record.state = replace(record.state, deadline=self.now + self._stop_timeout)

    def _update_rules(self, record: JobRecord, planned: Job) -> None:
        other_health = record.plan.health != planned.health
        if other_health:
            self.step_health(record, health.Input.DOWN)
        job_replacement.update_rules(record, planned)
        if other_health and record.state.phase is job.Phase.RUNNING and not self.maintenance:
            self.step_health(record, health.Input.UP)

    def _replace_finished_jobs(self) -> None:
        """Those that had to go and are over make room for their successors."""
        while over := [unit for unit in self._list_replaceable() if unit.is_done or unit.state.phase in IDLE_PHASES]:
            for unit in over:  # it may be what another one was still there for
                self._replace_job(unit)
        for unit in self._list_replaceable():  # a farewell that is said
            self.stop(unit)
        self._waiting_by_trigger = self._group_by_trigger()
        if not any(unit.being_replaced for unit in self.job_records.values()):
            self.replacing_jobs = False
            self._emit(events.PlanApplied())

    def _list_replaceable(self) -> list[JobRecord]:
        return [unit for unit in self.job_records.values() if unit.being_replaced and not self._is_still_needed(unit)]

    def _is_still_needed(self, record: JobRecord) -> bool:
        """It is on its way out, or its post-stop jobs are, or it is one itself that may still be needed."""
        if not record.is_done:
            stopping = record.state.stop_requested and record.state.phase in job.ALIVE_PHASES
            return stopping or not record.is_stop_hook or self._is_hook_of_replaced_job(record)
        name = record.plan.name
        if not any(
            o.is_post_stop_hook_of(name) and o.state.phase in job.ALIVE_PHASES for o in self.job_records.values()
        ):
            return False
        record.replace_deadline = (
            self.now + self._stop_timeout if record.replace_deadline is None else record.replace_deadline
        )
        return self.now < record.replace_deadline

    def _is_hook_of_replaced_job(self, record: JobRecord) -> bool:
        """To a job that is on its way out."""
        sources = {trigger.source for trigger in record.plan.when.triggers if trigger.event in STOP_HOOK_EVENTS}
        return any(source in self.job_records and self.job_records[source].being_replaced for source in sources)

    def _replace_job(self, record: JobRecord) -> None:
        name = record.plan.name
        if record.successor is None:
            del self.job_records[name]
            return
        if name in self.stopped_by_operator:
            self.job_records[name] = job_replacement.build_stopped_record(record.successor, self.now, record)
            return
        self._replace_record(record, record.successor)
        for other in list(self.job_records.values()):  # its farewells have their work before them again
            waits_for_it = any(t.source == name for t in other.plan.when.triggers)
            if other.is_done and other.is_stop_hook and waits_for_it and not other.being_replaced:
                self._replace_record(other, other.plan)

    def _replace_record(self, record: JobRecord, planned: Job) -> None:
        self.job_records[planned.name] = successor = job_replacement.build_record(planned, self.now, record)
        self._waiting_by_trigger = self._group_by_trigger()
        self._trigger_if_met(successor)

    def _trigger_if_met(self, record: JobRecord) -> None:
        """What holds already counts."""
        holding = job_replacement.list_current_events(
            self.job_records, maintenance=self.maintenance, watches=self.watches
        )
        if job_replacement.apply_current_events(record, holding):
            self.step_job(record, job.Input.TRIGGERED)
