"""Bring the jobs of a running life to a new plan.

Theory of operation. A new plan meets each job once (`job_replacement` decides on its effect). A job that has to go
stays, as `being_replaced`, until its last process and its stop hooks are over, and then makes room for its successor.
So old and new never overlap, and no other job is touched.
"""

from __future__ import annotations

from dataclasses import replace

from autopilot.machines import events, health, job, job_replacement
from autopilot.machines.backoff import FailureStreak
from autopilot.machines.job_record import STOP_HOOK_EVENTS, JobRecord
from autopilot.machines.job_replacement import ReloadStep
from autopilot.machines.job_set import JobSet
from autopilot.spec.plan import Job, Plan


class JobReplacer:
    """Applies new plans to the jobs of one supervisor."""

    def __init__(self, job_set: JobSet, plan: Plan) -> None:
        self._job_set = job_set
        self._stop_timeout = plan.stop_timeout
        self._replacing = False  # a plan was applied, and jobs that it ended may still be there

    def apply_plan(self, old: Plan, plan: Plan) -> None:
        """Apply a new plan to every job: start, stop, or replace it, or let it go on by new rules."""
        jobs = self._job_set
        self._forget_changed_watches(old, plan)
        jobs.set_templates(plan.templates)
        jobs.gates.apply_plan(plan.checks)
        before, planned = jobs.job_records, {job.name: job for job in plan.jobs}
        leaving = {name: record for name, record in before.items() if name not in planned}
        added = {
            name: job_replacement.build_record(job, jobs.now) for name, job in planned.items() if name not in before
        }
        jobs.job_records = {name: added.get(name) or before[name] for name in planned} | leaving
        jobs.stopped_by_operator &= planned.keys()
        jobs.recheck_waits = True
        self._stop_timeout, self._replacing = plan.stop_timeout, True
        for record in sorted(before.values(), key=lambda record: record.is_stop_hook):  # hooks after their sources
            self._apply_plan_to_job(record, planned.get(record.plan.name))
        jobs.group_by_trigger()
        for record in added.values():
            self._trigger_if_met(record)
        jobs.release_held_starts()

    def _forget_changed_watches(self, old: Plan, plan: Plan) -> None:
        """Forget the state of every watch that is not the same in both plans."""
        if old.consul != plan.consul:
            self._job_set.watches.clear()
        for name in {watch.name for watch in {*old.watches} ^ {*plan.watches}}:
            self._job_set.watches.pop(name, None)

    def _apply_plan_to_job(self, record: JobRecord, planned: Job | None) -> None:
        jobs, name = self._job_set, record.plan.name
        step = job_replacement.choose_reload_step(record, planned, stopped_by_operator=name in jobs.stopped_by_operator)
        if step is ReloadStep.REMOVE and self._is_hook_of_replaced_job(record):
            record.being_replaced = True
        elif step is ReloadStep.REMOVE:
            del jobs.job_records[name]
        elif step in (ReloadStep.STOP, ReloadStep.REPLACE):
            already, record.being_replaced, record.successor = record.being_replaced, True, planned
            if not already:
                jobs.stop(record)
        elif planned is not None:
            self._update_rules(record, planned)
            if step is ReloadStep.START_NOW:
                record.state = replace(record.state, streak=FailureStreak())
                jobs.step_job(record, job.Input.START)
            elif step is ReloadStep.REARM:
                self._replace_record(record, planned)

    def _update_rules(self, record: JobRecord, planned: Job) -> None:
        health_changed = record.plan.health != planned.health
        if health_changed:
            self._job_set.step_health(record, health.Input.DOWN)
        job_replacement.update_rules(record, planned)
        if health_changed and record.state.phase is job.Phase.RUNNING and not self._job_set.maintenance:
            self._job_set.step_health(record, health.Input.UP)

    def apply_replacements(self) -> None:
        """Put successors in the place of the jobs that are over, and emit PlanApplied when no job is left to replace.

        Call this when no event is pending: an event of the old job must not meet its successor.
        """
        if not self._replacing:
            return
        self._limit_holds()
        while over := [record for record in self._list_replaceable() if record.is_done or record.is_idle]:
            for record in over:  # each may be the last reason for another one to stay
                self._replace_job(record)
        for record in self._list_replaceable():  # stop hooks that have done their work
            self._job_set.stop(record)
        self._job_set.group_by_trigger()
        if not any(record.being_replaced for record in self._job_set.job_records.values()):
            self._replacing = False
            self._job_set.emit(events.PlanApplied())

    def _limit_holds(self) -> None:
        """Give the pre-stop jobs of jobs that go their usual time, but never more than the budget of a whole stop."""
        for record in self._job_set.job_records.values():
            if record.being_replaced and record.state.phase is job.Phase.HOLDING and record.state.deadline is None:
                record.state = replace(record.state, deadline=self._job_set.now + self._stop_timeout)

    def _list_replaceable(self) -> list[JobRecord]:
        records = self._job_set.job_records.values()
        return [record for record in records if record.being_replaced and not self._is_still_needed(record)]

    def _is_still_needed(self, record: JobRecord) -> bool:
        """Return True while the job stops, while its post-stop jobs run, and for a hook that may still have to run."""
        jobs = self._job_set
        if not record.is_done:
            stopping = record.state.stop_requested and record.is_alive
            return stopping or not record.is_stop_hook or self._is_hook_of_replaced_job(record)
        name = record.plan.name
        if not any(other.is_post_stop_hook_of(name) and other.is_alive for other in jobs.job_records.values()):
            return False
        if record.replace_deadline is None:
            record.replace_deadline = jobs.now + self._stop_timeout
        return jobs.now < record.replace_deadline

    def _is_hook_of_replaced_job(self, record: JobRecord) -> bool:
        records = self._job_set.job_records
        sources = {trigger.source for trigger in record.plan.when.triggers if trigger.event in STOP_HOOK_EVENTS}
        return any(source in records and records[source].being_replaced for source in sources)

    def _replace_job(self, record: JobRecord) -> None:
        jobs, name = self._job_set, record.plan.name
        if record.successor is None:
            del jobs.job_records[name]
            return
        if name in jobs.stopped_by_operator:
            jobs.job_records[name] = job_replacement.build_stopped_record(record.successor, jobs.now, record)
            return
        self._replace_record(record, record.successor)
        for other in list(jobs.job_records.values()):  # its stop hooks have their work before them again
            waits_for_it = any(trigger.source == name for trigger in other.plan.when.triggers)
            if other.is_done and other.is_stop_hook and waits_for_it and not other.being_replaced:
                self._replace_record(other, other.plan)

    def _replace_record(self, record: JobRecord, planned: Job) -> None:
        successor = job_replacement.build_record(planned, self._job_set.now, record)
        self._job_set.job_records[planned.name] = successor
        self._job_set.group_by_trigger()
        self._trigger_if_met(successor)

    def _trigger_if_met(self, record: JobRecord) -> None:
        """Start a newly armed job whose `when` is true by the events that still hold."""
        jobs = self._job_set
        current = job_replacement.list_current_events(
            jobs.job_records,
            maintenance=jobs.maintenance,
            watches=jobs.watches,
            templates=jobs.rendered_templates.values(),
        )
        if job_replacement.apply_current_events(record, current):
            jobs.trigger(record)
