"""The core: every machine of one supervisor, and the routing between them.

Theory of operation. `feed` takes one cue with its time, `tick` lets what is due fall due; both return the effects
in order: actions for the shell, facts for the listeners. Inside, a fact that a machine emits goes into one queue
and is heard by everything in the same order: by every job's `when`, then by the lifetime, then by whom it concerns.
So all jobs see all events in one order, and nothing is lost between a start and a subscription. When no news is
left, the core takes stock: what is over, what can never happen any more, which group stops next.

The core opens nothing, reads no clock (it is told `now`, and for jobs with `cron` what the wall clock shows) and draws
its randomness from the generator it is given: a day of a worker node runs in a test in milliseconds.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from autopilot.machines import (
    calendar,
    changes,
    cues,
    facts,
    health,
    job,
    lifetime,
    probation,
    shutdown,
    succession,
    when,
)
from autopilot.machines.actions import Action, Evict, Finish, Outcome, Signal
from autopilot.machines.restart import Streak
from autopilot.machines.succession import Fate
from autopilot.machines.unit import FAREWELLS, IDLE, Unit, outcome_of_essential, outcome_of_work
from autopilot.spec.plan import Drain, Job, Lifetime, Plan

Effect = Action | facts.Fact

EX_UNAVAILABLE = 69  # a check failed and its job asked for a shutdown
EX_TEMPFAIL = 75  # the drain was forced at its deadline


class Core:
    def __init__(
        self, plan: Plan, *, rng: random.Random, now: float, next_time: calendar.NextTime = lambda *_: None
    ) -> None:
        """`next_time` is asked by jobs with `cron`."""
        self.plan = plan
        self.units = {p.name: succession.renewed(p, now) for p in plan.jobs}
        self.lifetime_plan = _lifetime_plan(plan)
        self.lifetime = lifetime.LifetimeState()
        self.shutdown = shutdown.ShutdownState()
        self.probation = probation.Probation()
        self.payloads: tuple[str, ...] = ()
        self.troubles: dict[str, str] = {}
        self.watches: dict[str, bool] = {}  # healthy or not, as far as known
        self.maintenance = False
        self._deregistered = False  # our services are out of the registry, so its agent may stop
        self._held: set[str] = set()  # stopped by a person: their end is not the work's end
        self._evicting = False  # payloads are being given back: the batch system's process is not stopped yet
        self._someone_is_over = False  # since the last stock-taking
        self._settling = False  # a new plan's predecessors are on their way out
        self._waiting_for = self._by_trigger()
        self._rng = rng
        self._now = now
        self._ahead = 0.0  # of the wall clock
        self._next_time = next_time
        self._news: deque[facts.Fact] = deque()
        self._effects: list[Effect] = []

    # --- in and out ---

    def begin(self, now: float, wall: float = 0.0) -> list[Effect]:
        """`wall`, here and below: what the wall clock shows at the same moment, in seconds since the epoch."""
        return self._turn(now, wall, lambda: self._emit(facts.SupervisorStarted()))

    def feed(self, cue: cues.Cue, now: float, wall: float = 0.0) -> list[Effect]:
        return self._turn(now, wall, lambda: self._take(cue))

    def tick(self, now: float, wall: float = 0.0) -> list[Effect]:
        return self._turn(now, wall, self._elapse)

    def deadline(self) -> float | None:
        """When `tick` is wanted next, None: only a cue can change anything."""
        return min((when for when in self._deadlines() if when is not None), default=None)

    @property
    def ending(self) -> bool:
        return self.shutdown.phase is not shutdown.Phase.UP

    def healthy(self) -> set[str]:
        return {name for name, unit in self.units.items() if unit.health.status is health.Status.HEALTHY}

    @property
    def held(self) -> frozenset[str]:
        """Jobs that a person has stopped."""
        return frozenset(self._held)

    def _deadlines(self) -> Iterator[float | None]:
        for unit in self.units.values():
            yield unit.state.deadline
            yield unit.health.deadline
            yield unit.until
        yield self.lifetime.deadline
        yield self.shutdown.deadline
        yield self.probation.deadline

    def _turn(self, now: float, wall: float, body: Callable[[], None]) -> list[Effect]:
        self._now, self._ahead, self._effects = now, wall - now, []
        body()
        while self._news:
            self._hear(self._news.popleft())
            if not self._news:
                self._take_stock()
        return self._effects

    def _emit(self, *effects: Effect) -> None:
        self._effects.extend(effects)
        self._news.extend(effect for effect in effects if isinstance(effect, facts.Fact))

    # --- cues ---

    def _take(self, cue: cues.Cue) -> None:  # noqa: PLR0912 - one arm for each cue
        match cue:
            case cues.Spawned():
                self._of_run(cue.job, cue.run, job.On.SPAWNED, pid=cue.pid)
            case cues.Exited():
                self._of_run(cue.job, cue.run, job.On.EXITED, exited=cue)
            case cues.Emptied():
                self._of_run(cue.job, cue.run, job.On.EMPTIED)
            case cues.Checked():
                unit = self.units.get(cue.job)
                if unit is not None and cue.run == unit.health.run:
                    self._health(unit, health.On.PASSED if cue.passed else health.On.FAILED, output=cue.output)
            case cues.PayloadsSeen():
                self._count_payloads(cue.payloads)
            case cues.Drained():
                self._live(lifetime.On.DRAINED)
            case cues.Evicted():
                self._evicting = False
                self._emit(facts.PayloadsEvicted())
            case cues.NodeTrouble():
                self.troubles[cue.kind] = cue.detail
                self._emit(facts.NodeTroubled(cue.kind, cue.detail))
            case cues.NodeRecovered():
                self.troubles.pop(cue.kind, None)
                self._emit(facts.NodeMended(cue.kind))
            case cues.WatchChanged():
                self.watches[cue.watch] = cue.healthy
                end = facts.WatchHealthy if cue.healthy else facts.WatchUnhealthy
                self._emit(facts.WatchChanged(cue.watch), end(cue.watch))
            case cues.TemplateWritten():
                self._emit(facts.TemplateWritten(cue.path))
                self._take_notice(cue)
            case cues.Permitted():
                self._live(lifetime.On.PERMITTED)
            case cues.Deregistered():
                self._deregistered = True
                self._release_held_back()
            case cues.PlanChanged():
                self._adopt(cue.plan)
            case cues.SignalCame():
                self._emit(facts.SignalReceived(cue.name))
            case cues.Asked():
                self._serve(cue)

    def _take_notice(self, cue: cues.TemplateWritten) -> None:
        for name, on in ((cue.reload, job.On.RELOAD), (cue.restart, job.On.RESTART)):
            if name in self.units and self.units[name].state.phase is job.Phase.RUNNING:
                self._job(self.units[name], on)  # one that starts later reads the file by itself

    def _serve(self, asked: cues.Asked) -> None:
        match asked.what:
            case "terminate":
                self._terminate(asked.who)
            case "drain":
                self._drain("drain", asked.who, asked.deadline)
            case "stop":
                self._stop(Outcome("signal", f"stopped by {asked.who}", 0))
            case "stop-job":
                self._held.add(asked.job)
                self._stop_job(self.units[asked.job])
            case "start-job" | "restart-job":
                self._held.discard(asked.job)
                if not self.units[asked.job].going:  # its successor starts by itself
                    self._job(self.units[asked.job], job.On.START if asked.what == "start-job" else job.On.RESTART)
            case "signal-job":
                unit = self.units[asked.job]
                if unit.state.pid is not None:
                    self._emit(Signal(asked.job, unit.state.run, asked.signal, asked.group))
            case "enter-maintenance" | "leave-maintenance":
                self._maintain(asked.what == "enter-maintenance")

    def _maintain(self, on: bool) -> None:
        """In maintenance nothing is checked: what a person does to a service then is no illness."""
        if self.maintenance is on:
            return
        self.maintenance = on
        self._emit(facts.MaintenanceEntered() if on else facts.MaintenanceLeft())
        for unit in self.units.values():
            if unit.state.phase is job.Phase.RUNNING:
                self._health(unit, health.On.DOWN if on else health.On.UP)

    def _terminate(self, who: str) -> None:
        if self.ending:
            self._shut(shutdown.On.HURRY, who=who)
        elif self.plan.on_sigterm == "drain" and self.lifetime.phase not in lifetime.DRAINS:
            self._drain("signal", who, None)
        else:
            self._stop(Outcome("signal", f"stopped by {who}", 0))

    def _drain(self, reason: str, who: str, within: float | None) -> None:
        if self.shutdown.phase is shutdown.Phase.UP:
            self._live(lifetime.On.DRAIN, reason=reason, who=who, within=within)

    def _count_payloads(self, payloads: tuple[str, ...]) -> None:
        before, self.payloads = set(self.payloads), payloads
        started = tuple(p for p in payloads if p not in before)
        ended = tuple(sorted(before - set(payloads)))
        if started or ended:
            self._emit(facts.PayloadsChanged(payloads, started, ended))
        self._live(lifetime.On.PAYLOADS, busy=bool(payloads))

    def _elapse(self) -> None:
        now = self._now

        def due(deadline: float | None) -> bool:
            return deadline is not None and deadline <= now

        for unit in self.units.values():
            if due(unit.state.deadline):
                self._job(unit, job.On.ELAPSED)
            if due(unit.health.deadline):
                self._health(unit, health.On.ELAPSED)
        if any(due(unit.until) for unit in self.units.values()):
            self._succeed()
        if due(self.lifetime.deadline):
            self._live(lifetime.On.ELAPSED)
        if due(self.shutdown.deadline):
            self._shut(shutdown.On.ELAPSED)
        if due(self.probation.deadline):
            self.probation = probation.elapsed(self.probation)
            self._emit(facts.ProvedGood(self.plan.healthy_for))

    # --- the machines ---

    def _of_run(
        self, name: str, run: int, on: job.On, *, exited: cues.Exited | None = None, pid: int | None = None
    ) -> None:
        """What the shell says of one run; said of an earlier run it comes too late."""
        unit = self.units.get(name)
        if unit is not None and run == unit.state.run:
            self._job(unit, on, exited=exited, pid=pid)

    def _job(self, unit: Unit, on: job.On, *, exited: cues.Exited | None = None, pid: int | None = None) -> None:
        unit.state, effects = job.step(
            unit.plan,
            unit.state,
            on,
            self._now,
            exited=exited,
            pid=pid,
            draw=self._rng.random(),
            clock=None if unit.plan.when.cron is None else calendar.Clock(self._ahead, self._next_time),
        )
        self._emit(*effects)

    def _health(self, unit: Unit, on: health.On, *, output: str = "") -> None:
        if unit.plan.health is not None:
            name, plan = unit.plan.name, unit.plan.health
            unit.health, effects = health.step(
                name, plan, unit.health, on, self._now, run=unit.state.run, output=output
            )
            self._emit(*effects)

    def _live(
        self, on: lifetime.On, *, busy: bool = False, reason: str = "", who: str = "", within: float | None = None
    ) -> None:
        self.lifetime, effects = lifetime.step(
            self.lifetime_plan, self.lifetime, on, self._now,
            draw=self._rng.random(), busy=busy, reason=reason, who=who, within=within,
        )  # fmt: skip
        self._emit(*effects)

    def _shut(self, on: shutdown.On, *, outcome: Outcome | None = None, who: str = "") -> None:
        self.shutdown, orders = shutdown.step(
            self.shutdown,
            on,
            self._now,
            left=self._orders_left(),
            outcome=outcome,
            budget=self.plan.stop_timeout,
            who=who,
        )
        for order in orders:
            self._obey(order)

    def _obey(self, order: shutdown.Order) -> None:
        match order:
            case shutdown.StopGroup():
                for unit in self._left():
                    if unit.plan.stop.order == order.order and not unit.farewell:
                        self._stop_job(unit)
            case shutdown.KillAll():
                left = tuple(unit.plan.name for unit in self._left())
                self._emit(facts.ShutdownHurried(order.who, left))
                for unit in self._left():
                    self._job(unit, job.On.HURRY)
            case shutdown.Leave():
                assert self.shutdown.outcome is not None, "a shutdown has an outcome from its first step"
                self._emit(Finish(self.shutdown.outcome, tuple(unit.plan.name for unit in self._left())))

    def _left(self) -> list[Unit]:
        """The jobs a stop has to wait for: not those armed for a farewell that has not come."""
        return [u for u in self.units.values() if not u.over and not (u.farewell and u.state.phase in IDLE)]

    def _orders_left(self) -> tuple[int, ...]:
        return tuple(sorted({unit.plan.stop.order for unit in self._left()}))

    def _stop_job(self, unit: Unit) -> None:
        awaited = any(other.waits_for_stopping(unit.plan.name) for other in self.units.values())
        if self._is_agent(unit):
            self._deregistered = False
        self._job(unit, job.On.HOLD if awaited or self._others_go_first(unit) else job.On.STOP)

    def _others_go_first(self, unit: Unit) -> bool:
        """It is the batch system's process, and its payloads are still on their way back; or the registry's agent, and
        our services are still in it."""
        condor = self.plan.htcondor
        gives_back = self._evicting and condor is not None and unit.plan.name == condor.job
        return gives_back or (self._is_agent(unit) and not self._deregistered)

    def _is_agent(self, unit: Unit) -> bool:
        """The registry's agent: it stops when our services are out of it."""
        return self.plan.consul_agent is not None and unit.plan.name == self.plan.consul_agent.job

    def _stop(self, outcome: Outcome) -> None:
        if self.ending:
            return
        self._shut(shutdown.On.STOP, outcome=outcome)
        self._emit(facts.ShutdownBegun(outcome.reason, outcome.detail))
        drained = self.lifetime.phase is lifetime.Phase.OVER
        if not drained:
            self._live(lifetime.On.STOP)
            if self.plan.htcondor is not None:
                self._evicting = True
                self._emit(Evict())
        for unit in self.units.values():
            if unit.state.phase in IDLE and not unit.farewell:  # nothing starts any more but farewells
                self._job(unit, job.On.STOP)

    # --- another plan ---

    def _adopt(self, plan: Plan) -> None:
        """Nothing of a life that is ending changes any more."""
        if self.ending:
            return
        self._emit(facts.PlanAdopted(changes.between(self.plan, plan)))
        self.plan, self.lifetime_plan = plan, _lifetime_plan(plan)
        self._live(lifetime.On.REPLANNED)
        before = self.units
        planned = {job.name: job for job in plan.jobs}
        leaving = [name for name in before if name not in planned]
        self.units = {name: before[name] if name in before else self._fresh(job) for name, job in planned.items()}
        self.units |= {name: before[name] for name in leaving}
        self._held &= planned.keys()
        self._settling = True
        for unit in sorted(before.values(), key=lambda unit: unit.farewell):  # whom they say goodbye to goes first
            self._meet(unit, planned.get(unit.plan.name))
        self._waiting_for = self._by_trigger()
        for name in planned:
            if name not in before:
                self._arm(self.units[name])
        self._someone_is_over = True

    def _meet(self, unit: Unit, planned: Job | None) -> None:
        """One unit comes to the new plan."""
        name = unit.plan.name
        what = succession.fate(unit, planned, held=name in self._held)
        if what is Fate.VANISH and self._has_a_farewell_to_say(unit):
            unit.going = True
        elif what is Fate.VANISH:
            del self.units[name]
        elif what in (Fate.LEAVE, Fate.REPLACE):
            already, unit.going, unit.successor = unit.going, True, planned
            if not already:
                self._stop_job(unit)
                if unit.state.phase is job.Phase.HOLDING and unit.state.deadline is None:
                    unit.state = replace(unit.state, deadline=self._now + self.plan.stop_timeout)
        elif planned is not None:
            self._update(unit, planned)
            if what is Fate.START:
                unit.state = replace(unit.state, streak=Streak())
                self._job(unit, job.On.START)
            elif what is Fate.ARM:
                self._renew(unit, planned)

    def _update(self, unit: Unit, planned: Job) -> None:
        was = unit.plan.health
        checked = unit.state.phase is job.Phase.RUNNING and not self.maintenance and was != planned.health
        if checked:
            self._health(unit, health.On.DOWN)
        succession.update(unit, planned, self._now)
        if checked:
            self._health(unit, health.On.UP)

    def _succeed(self) -> None:
        """Those that had to go and are over make room for their successors."""
        while ready := [unit for unit in self.units.values() if unit.going and not self._is_awaited(unit)]:
            for unit in ready:  # whoever makes room may be what another one was still there for
                if unit.over or unit.state.phase in IDLE:
                    self._make_room(unit)
                else:
                    self._stop_job(unit)
        self._waiting_for = self._by_trigger()
        if not any(unit.going for unit in self.units.values()):
            self._settling = False
            self._emit(facts.PlanSettled())

    def _is_awaited(self, unit: Unit) -> bool:
        """It is on its way out, or its post-stop jobs are, or it is one itself that may still be needed."""
        if not unit.over:
            stopping = unit.state.asked and unit.state.phase in job.ALIVE
            return stopping or not unit.farewell or self._has_a_farewell_to_say(unit)
        name = unit.plan.name
        if not any(o.waits_for_stopped(name) and o.state.phase in job.ALIVE for o in self.units.values()):
            return False
        unit.until = self._now + self.plan.stop_timeout if unit.until is None else unit.until
        return self._now < unit.until

    def _make_room(self, unit: Unit) -> None:
        name = unit.plan.name
        if unit.successor is None:
            del self.units[name]
        else:
            self._renew(unit, unit.successor)
            self._rearm_farewells(name)

    def _has_a_farewell_to_say(self, unit: Unit) -> bool:
        """To a job that is on its way out."""
        sources = {trigger.source for trigger in unit.plan.when.triggers if trigger.event in FAREWELLS}
        return any(source in self.units and self.units[source].going for source in sources)

    def _rearm_farewells(self, source: str) -> None:
        """The pre- and post-stop jobs of a job that is there again have their work before them again."""
        for unit in list(self.units.values()):
            if unit.over and unit.farewell and any(t.source == source for t in unit.plan.when.triggers):
                self._renew(unit, unit.plan)

    def _renew(self, unit: Unit, planned: Job) -> None:
        self.units[planned.name] = successor = succession.renewed(planned, self._now, unit)
        self._waiting_for = self._by_trigger()
        self._arm(successor)

    def _arm(self, unit: Unit) -> None:
        holding = succession.present(self.units, maintenance=self.maintenance, watches=self.watches)
        if succession.offer_present(unit, holding):
            self._job(unit, job.On.TRIGGERED)

    def _fresh(self, planned: Job) -> Unit:
        return succession.renewed(planned, self._now)

    def _by_trigger(self) -> dict[tuple[str, str], list[Unit]]:
        """Who waits for what."""
        waiting: dict[tuple[str, str], list[Unit]] = {}
        for unit in self.units.values():
            for trigger in when.triggers_of(unit.plan.when):
                waiting.setdefault(when.key(trigger), []).append(unit)
        return waiting

    # --- facts ---

    def _hear(self, fact: facts.Fact) -> None:
        for unit in self._waiting_for.get((fact.source, fact.event), ()):
            if unit.going and not unit.farewell:
                continue
            unit.seen, true = when.offer(unit.plan.when, unit.seen, fact)
            if true and (self.shutdown.phase is shutdown.Phase.UP or unit.farewell):
                self._job(unit, job.On.TRIGGERED)
        self._hear_lifetime(fact)
        match fact:
            case facts.JobStarted() if not self.maintenance:
                self._health(self.units[fact.job], health.On.UP)
            case facts.JobExited():
                self._health(self.units[fact.job], health.On.DOWN)
                if self.units[fact.job].plan.when.each:
                    self._someone_is_over = True  # what it waits for again may have become impossible while it ran
            case facts.Unhealthy():
                self._answer_unhealthy(self.units[fact.job], fact)
            case facts.DrainBegun():
                self._retire_drained_job()
            case facts.DrainCompleted():
                code = EX_TEMPFAIL if fact.forced else 0
                self._stop(Outcome(self.lifetime.reason, "drained" + (", forced" if fact.forced else ""), code))
            case facts.JobStopped():
                self._someone_is_over = True
                self._health(self.units[fact.job], health.On.DOWN)
                self._hear_job_over(self.units[fact.job])

    def _hear_lifetime(self, fact: facts.Fact) -> None:
        after = self.lifetime_plan.after or when.STARTUP[0]
        if self.lifetime.phase is lifetime.Phase.ASLEEP and when.matches(after, fact):
            self._live(lifetime.On.BEGIN)

    def _answer_unhealthy(self, unit: Unit, fact: facts.Unhealthy) -> None:
        if self.ending:
            return
        what = unit.plan.health.on_failure if unit.plan.health else "event"
        if what == "restart" and unit.state.want_up:  # one that is being stopped must not come back for that
            self._job(unit, job.On.RESTART)
        elif what == "drain":
            self._drain("check-failed", f"{fact.job} is unhealthy", None)
        elif what == "shutdown":
            self._stop(Outcome("check-failed", f"{fact.job} is unhealthy: {fact.output}", EX_UNAVAILABLE))

    def _retire_drained_job(self) -> None:
        """A draining node's startd goes, and its master may (`condor_off -drain -master`): that is no illness, and the
        master must not come back."""
        if self.plan.htcondor is not None and self.lifetime_plan.drain.htcondor:
            unit = self.units[self.plan.htcondor.job]
            self._job(unit, job.On.RETIRE)
            self._health(unit, health.On.DOWN)

    def _hear_job_over(self, unit: Unit) -> None:
        if self.ending or unit.going:
            return
        if self._ends_the_drain(unit):
            self._live(lifetime.On.DRAINED)
        elif unit.plan.essential:
            self._stop(outcome_of_essential(unit))

    def _ends_the_drain(self, unit: Unit) -> bool:
        """The batch system's own process is gone, and not by an accident: nothing can run any more."""
        condor = self.plan.htcondor
        if condor is None or unit.plan.name != condor.job or self.lifetime.phase not in lifetime.DRAINS:
            return False
        return not unit.state.status or self.lifetime.phase is lifetime.Phase.HARDENED

    # --- when all news is heard ---

    def _take_stock(self) -> None:
        self._release_held_back()
        if self.ending:
            self._shut(shutdown.On.SETTLED)
            return
        if self._settling:
            self._succeed()
        if not self.probation.good:
            self._observe_probation()
        if self._someone_is_over:
            self._abandon_hopeless()
            if not self._news:  # else those who were abandoned are heard first
                self._someone_is_over = False
                if self._work_is_done():
                    self._stop(outcome_of_work(self.units.values()))

    def _release_held_back(self) -> None:
        for unit in self.units.values():
            if unit.state.phase is job.Phase.HOLDING:
                name = unit.plan.name
                pre_stop = [other for other in self.units.values() if other.waits_for_stopping(name)]
                busy = any(other.state.phase in job.ALIVE for other in pre_stop)
                if not busy and not self._others_go_first(unit):
                    self._job(unit, job.On.RELEASE)

    def _abandon_hopeless(self) -> None:
        """A job that waits for an event of a job that is over would wait for ever."""
        over = {name for name, unit in self.units.items() if unit.over and not unit.going} - self._held
        for unit in self.units.values():
            if unit.waits and any(trigger.source in over for trigger in unit.missing):
                self._job(unit, job.On.ABANDON)

    def _observe_probation(self) -> None:
        well = all(unit.well for unit in self.units.values())
        self.probation = probation.observe(self.probation, well=well, now=self._now, healthy_for=self.plan.healthy_for)

    def _work_is_done(self) -> bool:
        """Every job that works is over; the registry's agent is there for the others."""
        units = [unit for unit in self.units.values() if not self._is_agent(unit)]
        if self._held or self._settling or not any(unit.over for unit in units):
            return False
        return all(unit.over or unit.idles for unit in units)


def _lifetime_plan(plan: Plan) -> Lifetime:
    return plan.lifetime or Lifetime(drain=Drain(htcondor=plan.htcondor is not None))
