"""Hold the jobs of one supervisor, and apply to each the events of the others.

Theory of operation. The core routes; the job set knows the relations between jobs: a job waits for an event of another,
its pre-stop jobs run before its stop, and a wait for a job that is over can never be met. A reload is the matter of
`job_replacer`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from autopilot.machines import cron_schedule, cues, events, health, job, job_replacement, triggers
from autopilot.machines.actions import Action
from autopilot.machines.deadline_index import DeadlineIndex
from autopilot.machines.deadlines import is_due
from autopilot.machines.gate_set import GateSet
from autopilot.machines.job_record import JobRecord
from autopilot.spec.plan import Plan, Template


class JobSet:
    """The jobs of one supervisor, with their machines."""

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
        """Create the jobs of a plan; each waits for its `when`.

        Args:
            plan: The plan.
            rng: The source of all randomness.
            now: Seconds on the core's clock.
            next_time: Finds the next time of a `cron` expression.
            emit: Takes the effects of every step.
            must_wait_before_stop: Tells if a job may not be stopped yet, for a reason other than its pre-stop jobs.
        """
        self.now, self.emit = now, emit
        self.job_records = {planned.name: job_replacement.build_record(planned, now) for planned in plan.jobs}
        self.gates = GateSet(plan.checks, emit)
        self.watches: dict[str, bool] = {}  # watch -> healthy, as far as known
        self.rendered_templates: dict[str, str] = {}  # destination -> name
        self.maintenance = False
        self.stopped_by_operator: set[str] = set()  # their end is not the end of the work
        self.recheck_waits = False  # a job ended since the waits were checked
        self._ended_names: set[str] = set()  # those jobs
        self._recheck_all = True  # the records have changed, so every wait is checked
        self._holding_names: set[str] = set()  # jobs that were in HOLDING after their last step
        self._working_name = ""  # a job that kept the work from being done, when that was asked last
        self._wall_offset = 0.0  # s from the core's clock to the wall clock
        self._rng, self._next_time = rng, next_time
        self._must_wait_before_stop = must_wait_before_stop
        self.set_templates(plan.templates)
        self.group_by_trigger()

    def set_time(self, now: float, wall_offset: float) -> None:
        """Set the time for all steps until the next call.

        Args:
            now: Seconds on the core's clock.
            wall_offset: Seconds that the wall clock is ahead of it.
        """
        self.now, self._wall_offset = now, wall_offset

    # --- the machines ---

    def find_deadline(self) -> float | None:
        """Return the earliest deadline of any job or gate; None when there is none."""
        self._update_deadlines()
        first = min(self.gates.find_deadline(), self._deadlines.find_first())
        return None if first == math.inf else first

    def _update_deadlines(self) -> None:
        """Note the deadlines of the jobs that were stepped: this runs after every cue, and most jobs were not."""
        for name in self._stepped_names:
            self._deadlines.set(name, self.job_records[name].first_deadline)
        self._stepped_names.clear()

    def handle_deadlines(self) -> None:
        """Step every machine whose deadline has come."""
        self.gates.handle_deadlines(self.now)
        self._update_deadlines()
        for name in sorted(self._deadlines.list_due(self.now), key=self._positions.__getitem__):
            record = self.job_records[name]
            if is_due(record.state.deadline, self.now):
                if record.plan.when.cron is not None and record.is_waiting:
                    self._hold(record)
                self.step_job(record, job.Input.ELAPSED)
            if is_due(record.health.deadline, self.now):
                self.step_health(record, health.Input.ELAPSED)

    def handle_run_cue(
        self, name: str, run: int, on: job.Input, *, exited: cues.Exited | None = None, pid: int | None = None
    ) -> None:
        """Step a job by news of its run; late news, of an earlier run or of a removed job, is dropped."""
        record = self.job_records.get(name)
        if record is not None and run == record.state.run:
            self.step_job(record, on, exited=exited, pid=pid)

    def handle_check_result(self, cue: cues.CheckFinished) -> None:
        """Step a job's health by the result of its check; a late result is dropped."""
        record = self.job_records.get(cue.job)
        if record is not None and cue.run == record.health.run:
            self.step_health(record, health.Input.PASSED if cue.passed else health.Input.FAILED, output=cue.output)

    def step_job(
        self,
        record: JobRecord,
        on: job.Input,
        *,
        exited: cues.Exited | None = None,
        pid: int | None = None,
        cause: str = "",
    ) -> None:
        """Step a job's own machine, and emit the effects."""
        clock = cron_schedule.Clock(self._wall_offset, self._next_time) if record.plan.when.cron is not None else None
        draw = self._rng.random()
        record.state, effects = job.step(
            record.plan,
            record.state,
            on,
            self.now,
            exited=exited,
            pid=pid,
            draw=draw,
            clock=clock,
            has_pre_stop_jobs=self._has_pre_stop_hooks(record),
            cause=cause,
            is_held=record.is_held,
            # a run that was never checked, in maintenance, is judged by its length alone
            was_healthy=record.plan.health is None
            or record.health.was_healthy
            or record.health.run != record.state.run,
            missing_triggers=tuple(record.missing_triggers) if record.is_waiting else (),
        )
        self._note_step(record)
        if not record.is_waiting:  # it runs, or is over: by an operator's wish, for example
            record.held_for = record.held_by = ()
        if record.state.phase is job.Phase.HOLDING:
            self._holding_names.add(record.plan.name)
        self.emit(*effects)

    def step_health(self, record: JobRecord, on: health.Input, *, output: str = "") -> None:
        """Step a job's health machine, and emit the effects; a job without a check has none."""
        if record.plan.health is not None:
            name, plan = record.plan.name, record.plan.health
            record.health, effects = health.step(
                name, plan, record.health, on, self.now,
                run=record.state.run, output=output, grace=record.state.startup_grace,
            )  # fmt: skip
            self._note_step(record)
            self.emit(*effects)

    def _note_step(self, record: JobRecord) -> None:
        """Note that a record may have changed: its deadlines, and whether it counts as good, are looked at anew."""
        self._changed_names.add(record.plan.name)
        self._stepped_names.add(record.plan.name)

    def set_maintenance(self, enabled: bool) -> None:
        """Enter or leave maintenance: no check runs in it, since an operator's work on a service is no failure."""
        if self.maintenance is enabled:
            return
        self.maintenance = enabled
        self.emit(events.MaintenanceEntered() if enabled else events.MaintenanceExited())
        for record in self.job_records.values():
            if record.state.phase is job.Phase.RUNNING:
                self.step_health(record, health.Input.DOWN if enabled else health.Input.UP)

    # --- events ---

    def handle_event(self, event: events.Event, *, ending: bool) -> None:
        """Apply an event to every job that waits for it; while everything ends, only stop hooks start."""
        for record in self._waiting_by_trigger.get((event.source, event.trigger_name), ()):
            if record.being_replaced and not record.is_stop_hook:
                continue
            record.matched_triggers, met = triggers.apply_event(record.plan.when, record.matched_triggers, event)
            if met and (record.is_stop_hook or not ending):
                self.trigger(record)
        match event:
            case events.JobStarted() if not self.maintenance:
                self.step_health(self.job_records[event.job], health.Input.UP)
            case events.JobExited():
                record = self.job_records[event.job]
                self.step_health(record, health.Input.DOWN)
                if record.plan.when.each:  # its wait may have become impossible while it ran
                    self._recheck_waits_of(event.job)
            case events.RestartScheduled():  # a job without a process has not exited
                self.step_health(self.job_records[event.job], health.Input.DOWN)
            case events.JobStopped():
                self._recheck_waits_of(event.job)
                self.step_health(self.job_records[event.job], health.Input.DOWN)

    def list_bad_jobs(self) -> set[str]:
        """Return the names of the jobs that do not count as good; only those that were stepped are looked at anew."""
        for name in self._changed_names:
            if self.job_records[name].counts_as_good:
                self._bad_names.discard(name)
            else:
                self._bad_names.add(name)
        self._changed_names.clear()
        return self._bad_names

    # --- templates ---

    def set_templates(self, templates: Iterable[Template]) -> None:
        """Follow the templates of a plan: a job that one of them reloads or restarts starts when it is rendered.

        A file that was rendered counts for the template that renders it now, under the name that this one has now.
        """
        self._templates_by_job: dict[str, list[Template]] = {}
        planned = tuple(templates)
        names = {template.destination: template.name for template in planned}
        self.rendered_templates = {path: names[path] for path in self.rendered_templates if path in names}
        for template in planned:
            for name in {template.reload, template.restart} - {None}:
                self._templates_by_job.setdefault(str(name), []).append(template)

    def trigger(self, record: JobRecord) -> None:
        """Step a job whose `when` is true, as soon as its templates are rendered and its gates are open."""
        has_cron = record.plan.when.cron is not None
        self._hold(record)
        if not record.is_held:
            # a job with `cron` looks at the clock: its time has come, is long past, or comes later
            self.step_job(record, job.Input.ELAPSED if has_cron else job.Input.TRIGGERED)
        elif not has_cron:  # the timeout of a `when` is for its events, and they have come
            record.state = replace(record.state, deadline=None)

    def release_held_starts(self) -> None:
        """Start the jobs that were held for templates which are rendered now, or by gates which are open now."""
        for record in self.job_records.values():
            if record.is_held:
                self.trigger(record)

    def _hold(self, record: JobRecord) -> None:
        """Note what a waiting job has to wait for beside its `when`: its templates, and then its gates, are asked."""
        record.held_for = self._list_missing_templates(record) if record.is_waiting else ()
        is_gated = record.is_waiting and not record.held_for and not record.is_stop_hook
        record.held_by = self.gates.list_closed(record.plan.name) if is_gated else ()
        if record.held_by:
            self.gates.ask(record.held_by, self.now)
        self._note_step(record)

    def release_unneeded_gates(self) -> None:
        """Stop asking the gates that no job waits for any more: it was stopped, for example."""
        if self.gates.is_asking():
            needed = {name for record in self.job_records.values() for name in record.held_by}
            self.gates.release_unneeded(needed, self.now)

    def _list_missing_templates(self, record: JobRecord) -> tuple[str, ...]:
        if record.is_stop_hook:
            return ()
        templates = self._templates_by_job.get(record.plan.name, ())
        return tuple(template.name for template in templates if template.destination not in self.rendered_templates)

    def group_by_trigger(self) -> None:
        """Index the jobs by the events that they wait for and by their deadlines, after any change of the records."""
        self._waiting_by_trigger: dict[tuple[str, str], list[JobRecord]] = {}
        self._waiting_by_source: dict[str, list[JobRecord]] = {}
        self._recheck_all = True
        self._changed_names: set[str] = set(self.job_records)  # jobs stepped since `list_bad_jobs` looked
        self._bad_names: set[str] = set()  # jobs that did not count as good then
        self._stepped_names: set[str] = set(self.job_records)  # jobs stepped since their deadlines were noted
        self._deadlines = DeadlineIndex()
        self._positions = {name: position for position, name in enumerate(self.job_records)}
        for record in self.job_records.values():
            for trigger in triggers.list_triggers(record.plan.when):
                self._waiting_by_trigger.setdefault(triggers.get_trigger_key(trigger), []).append(record)
            for trigger in record.plan.when.triggers:
                self._waiting_by_source.setdefault(trigger.source, []).append(record)

    # --- stops ---

    def list_remaining(self) -> list[JobRecord]:
        """Return the jobs that a shutdown has to wait for; an armed stop hook whose event has not come is none."""
        return [
            record
            for record in self.job_records.values()
            if not record.is_done and not (record.is_stop_hook and record.is_idle)
        ]

    def stop(self, record: JobRecord) -> None:
        """Stop a job, after its pre-stop jobs."""
        must_hold = bool(self._list_pre_stop_hooks(record)) or self._must_wait_before_stop(record)
        self.step_job(record, job.Input.HOLD if must_hold else job.Input.STOP)

    def release_waiting_stops(self) -> None:
        """Let go on every stop whose pre-stop jobs are over; one that never started is not waited for."""
        if not self._holding_names:
            return
        holding = [record for name, record in self.job_records.items() if name in self._holding_names]
        self._holding_names = {record.plan.name for record in holding if record.state.phase is job.Phase.HOLDING}
        for record in holding:
            if record.state.phase is job.Phase.HOLDING:
                busy = any(hook.is_alive for hook in self._list_pre_stop_hooks(record))
                if not busy and not self._must_wait_before_stop(record):
                    self.step_job(record, job.Input.RELEASE)

    def _list_pre_stop_hooks(self, record: JobRecord) -> list[JobRecord]:
        return [other for other in self.job_records.values() if other.is_pre_stop_hook_of(record.plan.name)]

    def _has_pre_stop_hooks(self, record: JobRecord) -> bool:
        hooks = self._waiting_by_trigger.get((record.plan.name, "stopping"), ())  # most jobs have none
        return any(hook.is_pre_stop_hook_of(record.plan.name) for hook in hooks)

    # --- the end of the work ---

    def cancel_impossible_waits(self) -> None:
        """Give up every wait for an event of a job that is over: it would last for ever."""
        impossible = [  # chosen before the first is given up: its events come before others that wait for it
            record
            for record in self._list_waits_to_check()
            if record.is_waiting
            and not record.is_held  # a held job's events have come
            and any(self._is_over(trigger.source) for trigger in record.missing_triggers)
        ]
        for record in impossible:
            self.step_job(record, job.Input.ABANDON)

    def _list_waits_to_check(self) -> list[JobRecord]:
        """Return the jobs that may wait for an event of a job that has ended since the last check."""
        ended, self._ended_names = self._ended_names, set()
        if self._recheck_all:
            self._recheck_all = False
            return list(self.job_records.values())
        found: dict[str, JobRecord] = {}  # a job that is both is checked once
        for name in sorted(ended):
            own = [self.job_records[name]] if name in self.job_records else []
            found |= {record.plan.name: record for record in (*own, *self._waiting_by_source.get(name, ()))}
        return list(found.values())

    def _recheck_waits_of(self, name: str) -> None:
        self.recheck_waits = True
        self._ended_names.add(name)

    def _is_over(self, name: str) -> bool:
        record = self.job_records.get(name)
        if record is None or name in self.stopped_by_operator:
            return False
        return record.is_done and not record.being_replaced

    def is_work_done(self, consul_agent_job: str | None) -> bool:
        """Return True when every job that works is over.

        Args:
            consul_agent_job: The job of the registry's agent, which only serves the others.
        """
        if self._has_work(self._working_name, consul_agent_job):
            return False
        working = (name for name in reversed(self.job_records) if self._has_work(name, consul_agent_job))
        self._working_name = next(working, "")
        if self._working_name:
            return False
        records = [record for name, record in self.job_records.items() if name != consul_agent_job]
        replacing = any(record.being_replaced for record in self.job_records.values())
        has_ended = any(record.is_done for record in records)
        return has_ended and not replacing and not self.stopped_by_operator

    def _has_work(self, name: str, consul_agent_job: str | None) -> bool:
        """Return True for a job whose work is not done: it is not over, and keeps a container alive."""
        record = self.job_records.get(name)
        return record is not None and name != consul_agent_job and not (record.is_done or record.is_passive)
