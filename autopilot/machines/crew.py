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

from autopilot.machines import calendar, cues, facts, health, job, succession, when
from autopilot.machines.actions import Action
from autopilot.machines.restart import Streak
from autopilot.machines.succession import Fate
from autopilot.machines.unit import FAREWELLS, IDLE, Unit
from autopilot.spec.plan import Job, Plan


class Crew:
    """`now` and `ahead` (of the wall clock) are set by the core before each turn.

    `emit` takes effects; `others_go_first`: something outside the crew has to happen before this unit is stopped.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        rng: random.Random,
        now: float,
        next_time: calendar.NextTime,
        emit: Callable[[*tuple[Action | facts.Fact, ...]], None],
        others_go_first: Callable[[Unit], bool],
    ) -> None:
        self.now, self.ahead = now, 0.0
        self.units = {p.name: succession.renewed(p, now) for p in plan.jobs}
        self.watches: dict[str, bool] = {}  # healthy or not, as far as known
        self.maintenance = False
        self.held: set[str] = set()  # stopped by a person: their end is not the work's end
        self.settling = False  # a new plan's predecessors are on their way out
        self.someone_is_over = False  # since the last stock-taking
        self._patience = plan.stop_timeout
        self._rng, self._next_time = rng, next_time
        self._emit, self._others_go_first = emit, others_go_first
        self._waiting_for = self._by_trigger()

    # --- the machines ---

    def deadlines(self) -> Iterator[float | None]:
        for unit in self.units.values():
            yield unit.state.deadline
            yield unit.health.deadline
            yield unit.until

    def elapse(self) -> None:
        def due(deadline: float | None) -> bool:
            return deadline is not None and deadline <= self.now

        for unit in self.units.values():
            if due(unit.state.deadline):
                self.job(unit, job.On.ELAPSED)
            if due(unit.health.deadline):
                self.health(unit, health.On.ELAPSED)

    def of_run(
        self, name: str, run: int, on: job.On, *, exited: cues.Exited | None = None, pid: int | None = None
    ) -> None:
        """What the shell says of one run; said of an earlier run, or of a job that is gone, it comes too late."""
        unit = self.units.get(name)
        if unit is not None and run == unit.state.run:
            self.job(unit, on, exited=exited, pid=pid)

    def checked(self, cue: cues.Checked) -> None:
        unit = self.units.get(cue.job)
        if unit is not None and cue.run == unit.health.run:
            self.health(unit, health.On.PASSED if cue.passed else health.On.FAILED, output=cue.output)

    def job(self, unit: Unit, on: job.On, *, exited: cues.Exited | None = None, pid: int | None = None) -> None:
        unit.state, effects = job.step(
            unit.plan,
            unit.state,
            on,
            self.now,
            exited=exited,
            pid=pid,
            draw=self._rng.random(),
            clock=None if unit.plan.when.cron is None else calendar.Clock(self.ahead, self._next_time),
        )
        self._emit(*effects)

    def health(self, unit: Unit, on: health.On, *, output: str = "") -> None:
        if unit.plan.health is not None:
            name, plan = unit.plan.name, unit.plan.health
            unit.health, effects = health.step(name, plan, unit.health, on, self.now, run=unit.state.run, output=output)
            self._emit(*effects)

    def maintain(self, on: bool) -> None:
        """In maintenance nothing is checked: what a person does to a service then is no illness."""
        if self.maintenance is on:
            return
        self.maintenance = on
        self._emit(facts.MaintenanceEntered() if on else facts.MaintenanceLeft())
        for unit in self.units.values():
            if unit.state.phase is job.Phase.RUNNING:
                self.health(unit, health.On.DOWN if on else health.On.UP)

    # --- events ---

    def hear(self, fact: facts.Fact, *, ending: bool) -> None:
        """Every unit hears every fact; while everything ends, only farewells come true."""
        for unit in self._waiting_for.get((fact.source, fact.event), ()):
            if unit.going and not unit.farewell:
                continue
            unit.seen, true = when.offer(unit.plan.when, unit.seen, fact)
            if true and (unit.farewell or not ending):
                self.job(unit, job.On.TRIGGERED)
        match fact:
            case facts.JobStarted() if not self.maintenance:
                self.health(self.units[fact.job], health.On.UP)
            case facts.JobExited():
                unit = self.units[fact.job]
                self.health(unit, health.On.DOWN)
                if unit.plan.when.each:  # what it waits for again may have become impossible while it ran
                    self.someone_is_over = True
            case facts.JobStopped():
                self.someone_is_over = True
                self.health(self.units[fact.job], health.On.DOWN)

    def _by_trigger(self) -> dict[tuple[str, str], list[Unit]]:
        waiting: dict[tuple[str, str], list[Unit]] = {}
        for unit in self.units.values():
            for trigger in when.triggers_of(unit.plan.when):
                waiting.setdefault(when.key(trigger), []).append(unit)
        return waiting

    # --- stops ---

    def left(self) -> list[Unit]:
        """The jobs a stop has to wait for: not those armed for a farewell that has not come."""
        return [u for u in self.units.values() if not u.over and not (u.farewell and u.state.phase in IDLE)]

    def stop(self, unit: Unit) -> None:
        """Once its pre-stop jobs are over."""
        awaited = any(other.waits_for_stopping(unit.plan.name) for other in self.units.values())
        self.job(unit, job.On.HOLD if awaited or self._others_go_first(unit) else job.On.STOP)

    def release_held_back(self) -> None:
        for unit in self.units.values():
            if unit.state.phase is job.Phase.HOLDING:
                name = unit.plan.name
                pre_stop = [other for other in self.units.values() if other.waits_for_stopping(name)]
                busy = any(other.state.phase in job.ALIVE for other in pre_stop)
                if not busy and not self._others_go_first(unit):
                    self.job(unit, job.On.RELEASE)

    # --- when all news is heard ---

    def settle(self) -> None:
        """Only when all news is heard: what was said of a unit must not meet its successor."""
        if self.settling:
            self._succeed()

    def abandon_hopeless(self) -> None:
        """A job that waits for an event of a job that is over would wait for ever."""
        over = {name for name, unit in self.units.items() if unit.over and not unit.going} - self.held
        for unit in self.units.values():
            if unit.waits and any(trigger.source in over for trigger in unit.missing):
                self.job(unit, job.On.ABANDON)

    def is_done(self, agent: str | None) -> bool:
        """Every job that works is over; the registry's `agent` is there for the others."""
        units = [unit for name, unit in self.units.items() if name != agent]
        if self.held or self.settling or not any(unit.over for unit in units):
            return False
        return all(unit.over or unit.idles for unit in units)

    # --- another plan ---

    def adopt(self, old: Plan, plan: Plan) -> None:
        if old.consul != plan.consul:
            self.watches.clear()
        for name in {watch.name for watch in {*old.watches} ^ {*plan.watches}}:
            self.watches.pop(name, None)  # what was seen of another watch says nothing
        before, planned = self.units, {job.name: job for job in plan.jobs}
        leaving = {name: unit for name, unit in before.items() if name not in planned}
        fresh = {name: succession.renewed(job, self.now) for name, job in planned.items() if name not in before}
        self.units = {name: fresh.get(name) or before[name] for name in planned} | leaving
        self.held &= planned.keys()
        self._patience, self.settling, self.someone_is_over = plan.stop_timeout, True, True
        for unit in sorted(before.values(), key=lambda unit: unit.farewell):  # whom they say goodbye to goes first
            self._meet(unit, planned.get(unit.plan.name))
        self._waiting_for = self._by_trigger()
        for unit in fresh.values():
            self._arm(unit)

    def _meet(self, unit: Unit, planned: Job | None) -> None:
        """One unit comes to the new plan."""
        name = unit.plan.name
        what = succession.fate(unit, planned, held=name in self.held)
        if what is Fate.VANISH and self._has_a_farewell_to_say(unit):
            unit.going = True
        elif what is Fate.VANISH:
            del self.units[name]
        elif what in (Fate.LEAVE, Fate.REPLACE):
            already, unit.going, unit.successor = unit.going, True, planned
            if not already:
                self._send_away(unit)
        elif planned is not None:
            self._update(unit, planned)
            if what is Fate.START:
                unit.state = replace(unit.state, streak=Streak())
                self.job(unit, job.On.START)
            elif what is Fate.ARM:
                self._renew(unit, planned)

    def _send_away(self, unit: Unit) -> None:
        """Its pre-stop jobs have the time they were given, and never more than a stop's."""
        self.stop(unit)
        if unit.state.phase is job.Phase.HOLDING and unit.state.deadline is None:
            unit.state = replace(unit.state, deadline=self.now + self._patience)

    def _update(self, unit: Unit, planned: Job) -> None:
        other_health = unit.plan.health != planned.health
        if other_health:
            self.health(unit, health.On.DOWN)
        succession.update(unit, planned)
        if other_health and unit.state.phase is job.Phase.RUNNING and not self.maintenance:
            self.health(unit, health.On.UP)

    def _succeed(self) -> None:
        """Those that had to go and are over make room for their successors."""
        while over := [unit for unit in self._ready() if unit.over or unit.state.phase in IDLE]:
            for unit in over:  # it may be what another one was still there for
                self._make_room(unit)
        for unit in self._ready():  # a farewell that is said
            self.stop(unit)
        self._waiting_for = self._by_trigger()
        if not any(unit.going for unit in self.units.values()):
            self.settling = False
            self._emit(facts.PlanSettled())

    def _ready(self) -> list[Unit]:
        return [unit for unit in self.units.values() if unit.going and not self._is_awaited(unit)]

    def _is_awaited(self, unit: Unit) -> bool:
        """It is on its way out, or its post-stop jobs are, or it is one itself that may still be needed."""
        if not unit.over:
            stopping = unit.state.asked and unit.state.phase in job.ALIVE
            return stopping or not unit.farewell or self._has_a_farewell_to_say(unit)
        name = unit.plan.name
        if not any(o.waits_for_stopped(name) and o.state.phase in job.ALIVE for o in self.units.values()):
            return False
        unit.until = self.now + self._patience if unit.until is None else unit.until
        return self.now < unit.until

    def _has_a_farewell_to_say(self, unit: Unit) -> bool:
        """To a job that is on its way out."""
        sources = {trigger.source for trigger in unit.plan.when.triggers if trigger.event in FAREWELLS}
        return any(source in self.units and self.units[source].going for source in sources)

    def _make_room(self, unit: Unit) -> None:
        name = unit.plan.name
        if unit.successor is None:
            del self.units[name]
            return
        if name in self.held:
            self.units[name] = succession.stopped(unit.successor, self.now, unit)
            return
        self._renew(unit, unit.successor)
        for other in list(self.units.values()):  # its farewells have their work before them again
            waits_for_it = any(t.source == name for t in other.plan.when.triggers)
            if other.over and other.farewell and waits_for_it and not other.going:
                self._renew(other, other.plan)

    def _renew(self, unit: Unit, planned: Job) -> None:
        self.units[planned.name] = successor = succession.renewed(planned, self.now, unit)
        self._waiting_for = self._by_trigger()
        self._arm(successor)

    def _arm(self, unit: Unit) -> None:
        """What holds already counts."""
        holding = succession.present(self.units, maintenance=self.maintenance, watches=self.watches)
        if succession.offer_present(unit, holding):
            self.job(unit, job.On.TRIGGERED)
