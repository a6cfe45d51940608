"""A simulated world for a core: processes, checks and payloads under a virtual clock. Nothing here sleeps.

`autopilot check --simulate` and the tests of the machines run whole lives in it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from autopilot.machines import actions, cues, facts
from autopilot.machines.actions import Action, Finish
from autopilot.machines.core import Core, Effect
from autopilot.machines.facts import Fact
from autopilot.runtime.calendar import next_time
from autopilot.spec.plan import Job, Plan

MOST = 200_000  # facts of one life that are worth looking at
EXIT_BY_SIGNAL = {15: 143, 9: 137, 3: 131, 2: 130}


class Endless(Exception):
    """So much happens that nobody would read it."""


@dataclass
class Behaviour:
    """How a job's processes behave: how long a run takes, how it ends, how a check answers."""

    runs_for: Callable[[random.Random], float | None] = lambda rng: None  # None: until it is signalled
    status: Callable[[random.Random], int] = lambda rng: 0
    deaf: bool = False  # to everything but SIGKILL
    leaves: int = 0  # members left when the leader exits
    check: Callable[[random.Random], bool | None] = lambda rng: True  # None: it never answers
    check_takes: float = 0.01
    check_says: str = ""


@dataclass
class World:
    plan: Plan
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    seed: int = 0
    drain_takes: float | None = 0.0  # None: never
    drain_with_payloads: bool = False  # the drain is over when no payload runs any more
    ahead: float = 0.0  # of the wall clock, in seconds since the epoch
    now: float = 0.0
    facts: list[tuple[float, Fact]] = field(default_factory=list)
    actions: list[tuple[float, Action]] = field(default_factory=list)
    finish: Finish | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.core = Core(self.plan, rng=random.Random(self.seed + 1), now=0.0, next_time=next_time)
        self._events: list[tuple[float, int, cues.Cue]] = []
        self._order = itertools.count()
        self.live: dict[str, int] = {}  # job -> run whose leader or members are alive
        self._left: dict[str, int] = {}
        self._draining = False
        self._pids = itertools.count(100)
        self._jobs: dict[str, Job] = {job.name: job for job in self.plan.jobs}
        self._do(self.core.begin(0.0, self.ahead))

    # --- time ---

    def after(self, delay: float, cue: cues.Cue) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), cue))

    def run(self, until: float) -> World:
        """Let the time pass up to `until`, or to the end of the life. Raises Endless."""
        while self.finish is None:
            deadline = self.core.deadline()
            event = self._events[0][0] if self._events else None
            if len(self.facts) > MOST:
                raise Endless(f"more than {MOST} events within {self.now:g} s")
            upcoming = min((t for t in (deadline, event) if t is not None), default=None)
            if upcoming is None or upcoming > until:
                self.now = until
                break
            assert upcoming >= self.now - 1e-6, "a deadline in the past would spin"
            self.now = max(self.now, upcoming)
            if event is not None and event <= self.now:
                self._happen(heapq.heappop(self._events)[2])
            else:
                self._do(self.core.tick(self.now, self.now + self.ahead))
                after = self.core.deadline()
                assert after is None or after > self.now - 1e-9
        return self

    def feed(self, cue: cues.Cue) -> None:
        self._do(self.core.feed(cue, self.now, self.now + self.ahead))

    def _happen(self, cue: cues.Cue) -> None:
        if isinstance(cue, cues.Exited):
            if self.live.get(cue.job) != cue.run or cue.job in self._left:
                return  # that run is over already, or its leader is
            if cue.leftovers:
                self._left[cue.job] = cue.leftovers
            else:
                del self.live[cue.job]
        if isinstance(cue, cues.Emptied):
            if self.live.get(cue.job) != cue.run:
                return
            del self.live[cue.job]
            self._left.pop(cue.job, None)
        self.feed(cue)

    # --- what the core wants ---

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            assert self.finish is None, f"{effect} after the end"
            if isinstance(effect, Fact):
                self.facts.append((self.now, effect))
                self._let_the_agent_stop(effect)
            else:
                self.actions.append((self.now, effect))
                self._act(effect)

    def _let_the_agent_stop(self, fact: Fact) -> None:
        agent = self.plan.consul_agent
        if agent is not None and isinstance(fact, facts.JobStopping) and fact.job == agent.job:
            self.after(0.1, cues.Deregistered())

    def let_the_drain_end(self) -> None:
        if self._draining and not self.core.payloads:
            self._draining = False
            self.after(0.0, cues.Drained())

    def _act(self, action: Action) -> None:  # noqa: PLR0912 - one arm for each action
        match action:
            case actions.Spawn(job, run):
                assert job not in self.live, f"two runs of {job} at once"
                self.live[job] = run
                self.after(0, cues.Spawned(job, run, next(self._pids)))
                behaviour = self._behaviour(job)
                runs_for = behaviour.runs_for(self.rng)
                if runs_for is not None:
                    self.after(runs_for, cues.Exited(job, run, behaviour.status(self.rng), behaviour.leaves))
            case actions.Signal(job, run, number):
                assert self.live.get(job) == run, "a signal to a run that is over"
                if not self._behaviour(job).deaf:
                    self._end(job, run, EXIT_BY_SIGNAL.get(number, 128 + number), 0.01)
            case actions.Kill(job, run):
                self._end(job, run, 137, 0.001)
            case actions.RunCheck(job, run):
                behaviour = self._behaviour(job)
                passed = behaviour.check(self.rng)
                if passed is not None:
                    says = behaviour.check_says or ("passed" if passed else "failed")
                    self.after(behaviour.check_takes, cues.Checked(job, run, passed, says))
            case actions.AskPermit():
                self.after(0.0, cues.Permitted(known=True))
            case actions.BeginDrain() if self.drain_with_payloads:
                self._draining = True
                self.let_the_drain_end()
            case actions.BeginDrain() if self.drain_takes is not None:
                self.after(self.drain_takes, cues.Drained())
            case actions.Evict():
                self.after(0.4, cues.Evicted())
            case actions.HardenDrain():
                self.after(0.1, cues.Drained())
            case actions.Finish():
                self.finish = action

    def _end(self, job: str, run: int, status: int, delay: float) -> None:
        if job in self._left:
            self.after(delay, cues.Emptied(job, run))
        else:
            self.after(delay, cues.Exited(job, run, status))

    def _behaviour(self, job: str) -> Behaviour:
        return self.behaviours.get(job, Behaviour())

    # --- questions ---

    def times_of(self, kind: type[Fact], job: str = "") -> list[float]:
        return [when for when, fact in self.facts if isinstance(fact, kind) and fact.source == job]

    def spawns(self, job: str) -> list[float]:
        return [t for t, action in self.actions if isinstance(action, actions.Spawn) and action.job == job]
