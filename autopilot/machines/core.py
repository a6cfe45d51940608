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

from autopilot.machines import calendar, changes, cues, facts, health, job, lifetime, probation, shutdown, when
from autopilot.machines.actions import Action, Evict, Finish, Outcome, Signal
from autopilot.machines.crew import Crew
from autopilot.machines.unit import IDLE, Unit, outcome_of_essential, outcome_of_work
from autopilot.spec.plan import Drain, Lifetime, Plan

Effect = Action | facts.Fact

EX_UNAVAILABLE = 69  # a check failed and its job asked for a shutdown
EX_TEMPFAIL = 75  # the drain was forced at its deadline


class Core:
    def __init__(
        self, plan: Plan, *, rng: random.Random, now: float, next_time: calendar.NextTime = lambda *_: None
    ) -> None:
        """`next_time` is asked by jobs with `cron`."""
        self.plan = plan
        self.crew = Crew(
            plan, rng=rng, now=now, next_time=next_time, emit=self._emit, others_go_first=self._others_go_first
        )
        self.lifetime_plan = _lifetime_plan(plan)
        self.lifetime = lifetime.LifetimeState()
        self.shutdown = shutdown.ShutdownState()
        self.probation = probation.Probation()
        self.payloads: tuple[str, ...] = ()
        self.troubles: dict[str, str] = {}
        self._deregistered = False  # our services are out of the registry, so its agent may stop
        self._evicting = False  # payloads are being given back: the batch system's process is not stopped yet
        self._rng = rng
        self._now = now
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

    @property
    def units(self) -> dict[str, Unit]:
        """In the job spec's order."""
        return self.crew.units

    def healthy(self) -> set[str]:
        return {name for name, unit in self.units.items() if unit.health.status is health.Status.HEALTHY}

    @property
    def held(self) -> frozenset[str]:
        """Jobs that a person has stopped."""
        return frozenset(self.crew.held)

    def _deadlines(self) -> Iterator[float | None]:
        yield from self.crew.deadlines()
        yield self.lifetime.deadline
        yield self.shutdown.deadline
        yield self.probation.deadline

    def _turn(self, now: float, wall: float, body: Callable[[], None]) -> list[Effect]:
        self._now, self._effects = now, []
        self.crew.now, self.crew.ahead = now, wall - now
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
                self.crew.of_run(cue.job, cue.run, job.On.SPAWNED, pid=cue.pid)
            case cues.Exited():
                self.crew.of_run(cue.job, cue.run, job.On.EXITED, exited=cue)
            case cues.Emptied():
                self.crew.of_run(cue.job, cue.run, job.On.EMPTIED)
            case cues.Checked():
                self.crew.checked(cue)
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
                self.crew.watches[cue.watch] = cue.healthy
                end = facts.WatchHealthy if cue.healthy else facts.WatchUnhealthy
                self._emit(facts.WatchChanged(cue.watch), end(cue.watch))
            case cues.TemplateWritten():
                self._emit(facts.TemplateWritten(cue.path))
                self._take_notice(cue)
            case cues.Permitted():
                self._live(lifetime.On.PERMITTED)
            case cues.Deregistered():
                self._deregistered = True
                self.crew.release_held_back()
            case cues.PlanChanged() if not self.ending:  # nothing of a life that is ending changes any more
                self._adopt(cue.plan)
            case cues.SignalCame():
                self._emit(facts.SignalReceived(cue.name))
            case cues.Asked():
                self._serve(cue)

    def _take_notice(self, cue: cues.TemplateWritten) -> None:
        for name, on in ((cue.reload, job.On.RELOAD), (cue.restart, job.On.RESTART)):
            if name in self.units and self.units[name].state.phase is job.Phase.RUNNING:
                self.crew.job(self.units[name], on)  # one that starts later reads the file by itself

    def _serve(self, asked: cues.Asked) -> None:
        match asked.what:
            case "terminate":
                self._terminate(asked.who)
            case "drain":
                self._drain("drain", asked.who, asked.deadline)
            case "stop":
                self._stop(Outcome("signal", f"stopped by {asked.who}", 0))
            case "stop-job":
                self.crew.held.add(asked.job)
                self.crew.stop(self.units[asked.job])
            case "start-job" | "restart-job":
                self.crew.held.discard(asked.job)
                if not self.units[asked.job].going:  # its successor starts by itself
                    self.crew.job(self.units[asked.job], job.On.START if asked.what == "start-job" else job.On.RESTART)
            case "signal-job":
                unit = self.units[asked.job]
                if unit.state.pid is not None:
                    self._emit(Signal(asked.job, unit.state.run, asked.signal, asked.group))
            case "enter-maintenance" | "leave-maintenance":
                self.crew.maintain(asked.what == "enter-maintenance")

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

        self.crew.elapse()
        if due(self.lifetime.deadline):
            self._live(lifetime.On.ELAPSED)
        if due(self.shutdown.deadline):
            self._shut(shutdown.On.ELAPSED)
        if due(self.probation.deadline):
            self.probation = probation.elapsed(self.probation)
            self._emit(facts.ProvedGood(self.plan.healthy_for))
        if not self._news:  # else the stock-taking does it
            self.crew.settle()

    def _adopt(self, plan: Plan) -> None:
        self._emit(facts.PlanAdopted(changes.between(self.plan, plan)))
        old, self.plan, self.lifetime_plan = self.plan, plan, _lifetime_plan(plan)
        self._live(lifetime.On.REPLANNED)
        self.crew.adopt(old, plan)

    # --- the machines ---

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
            left=tuple(sorted({unit.plan.stop.order for unit in self.crew.left()})),
            outcome=outcome,
            budget=self.plan.stop_timeout,
            who=who,
        )
        for order in orders:
            self._obey(order)

    def _obey(self, order: shutdown.Order) -> None:
        match order:
            case shutdown.StopGroup():
                for unit in self.crew.left():
                    if unit.plan.stop.order == order.order and not unit.farewell:
                        self.crew.stop(unit)
            case shutdown.KillAll():
                left = tuple(unit.plan.name for unit in self.crew.left())
                self._emit(facts.ShutdownHurried(order.who, left))
                for unit in self.crew.left():
                    self.crew.job(unit, job.On.HURRY)
            case shutdown.Leave():
                assert self.shutdown.outcome is not None, "a shutdown has an outcome from its first step"
                self._emit(Finish(self.shutdown.outcome, tuple(unit.plan.name for unit in self.crew.left())))

    def _others_go_first(self, unit: Unit) -> bool:
        """It is the batch system's process, and its payloads are still on their way back; or the registry's agent, and
        our services are still in it."""
        condor, name = self.plan.htcondor, unit.plan.name
        gives_back = self._evicting and condor is not None and name == condor.job
        return gives_back or (name == self._agent and not self._deregistered)

    @property
    def _agent(self) -> str | None:
        """The registry's agent: it stops when our services are out of it."""
        return None if self.plan.consul_agent is None else self.plan.consul_agent.job

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
                self.crew.job(unit, job.On.STOP)

    # --- facts ---

    def _hear(self, fact: facts.Fact) -> None:
        self.crew.hear(fact, ending=self.ending)
        self._hear_lifetime(fact)
        match fact:
            case facts.Unhealthy():
                self._answer_unhealthy(self.units[fact.job], fact)
            case facts.DrainBegun():
                self._retire_drained_job()
            case facts.DrainCompleted():
                code = EX_TEMPFAIL if fact.forced else 0
                self._stop(Outcome(self.lifetime.reason, "drained" + (", forced" if fact.forced else ""), code))
            case facts.JobStopped():
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
            self.crew.job(unit, job.On.RESTART)
        elif what == "drain":
            self._drain("check-failed", f"{fact.job} is unhealthy", None)
        elif what == "shutdown":
            self._stop(Outcome("check-failed", f"{fact.job} is unhealthy: {fact.output}", EX_UNAVAILABLE))

    def _retire_drained_job(self) -> None:
        """A draining node's startd goes, and its master may (`condor_off -drain -master`): that is no illness, and the
        master must not come back."""
        if self.plan.htcondor is not None and self.lifetime_plan.drain.htcondor:
            unit = self.units[self.plan.htcondor.job]
            self.crew.job(unit, job.On.RETIRE)
            self.crew.health(unit, health.On.DOWN)

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
        self.crew.release_held_back()
        if self._news:
            return  # a job without a process is over at once: that is heard first
        if self.ending:
            self._shut(shutdown.On.SETTLED)
            return
        self.crew.settle()
        if not self.probation.good:
            self._observe_probation()
        if self.crew.someone_is_over:
            self.crew.abandon_hopeless()
            if not self._news:  # else those who were abandoned are heard first
                self.crew.someone_is_over = False
                if self.crew.is_done(self._agent):
                    self._stop(outcome_of_work(self.units.values()))

    def _observe_probation(self) -> None:
        well = all(unit.well for unit in self.units.values())
        self.probation = probation.observe(self.probation, well=well, now=self._now, healthy_for=self.plan.healthy_for)


def _lifetime_plan(plan: Plan) -> Lifetime:
    return plan.lifetime or Lifetime(drain=Drain(htcondor=plan.htcondor is not None))
