"""Simulate the world of a core: processes, checks and payloads under a virtual clock, without any sleep.

`autopilot check --simulate` and the tests of the machines run whole lives in it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from autopilot.errors import AutopilotError
from autopilot.machines import actions, cues, events
from autopilot.machines.actions import Action, Finish
from autopilot.machines.core import Core, Effect
from autopilot.machines.events import Event
from autopilot.runtime.cron_times import find_next_time
from autopilot.spec.plan import Job, Plan

MAX_EVENTS = 200_000  # events of one life
EXIT_BY_SIGNAL = {15: 143, 9: 137, 3: 131, 2: 130}


class TooManyEventsError(AutopilotError):
    """A simulated life with more than MAX_EVENTS events."""


@dataclass
class Behaviour:
    """Behaviour of a job's processes: the length and status of its runs, and the answers of its check."""

    run_duration: Callable[[random.Random], float | None] = lambda rng: None  # s, None: until it gets a signal
    status: Callable[[random.Random], int] = lambda rng: 0
    ignores_signals: bool = False  # all but SIGKILL
    kill_delay: float | None = 0.001  # seconds from SIGKILL to the end, None: it never ends
    leftovers: int = 0  # members left when the leader exits
    check: Callable[[random.Random], bool | None] = lambda rng: True  # None: it never answers
    check_duration: float = 0.01
    check_output: str = ""


@dataclass
class GateBehaviour:
    """Behaviour of a gate's check."""

    check: Callable[[random.Random], bool | None] = lambda rng: True  # None: it never answers
    output: str = ""
    duration: float = 0.01  # s


@dataclass
class SimulatedWorld:
    """A core and its world, from the beginning of a life to its end. Moments are seconds of the virtual clock."""

    plan: Plan
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    seed: int = 0
    drain_duration: float | None = 0.0  # s, None: it never ends
    drain_ends_with_payloads: bool = False  # the drain is over when no payload runs
    wall_offset: float = 0.0  # of the wall clock, in seconds since the epoch
    gates: dict[str, GateBehaviour] = field(default_factory=dict)
    payloads_taken: int = 0  # since the beginning of the life
    now: float = 0.0
    events: list[tuple[float, Event]] = field(default_factory=list)
    actions: list[tuple[float, Action]] = field(default_factory=list)
    finish: Finish | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.core = Core(self.plan, rng=random.Random(self.seed + 1), now=0.0, next_time=find_next_time)
        self._pending_cues: list[tuple[float, int, cues.Cue]] = []
        self._order = itertools.count()
        self.live_runs: dict[str, int] = {}  # job -> run whose leader or members are alive
        self._leftovers: dict[str, int] = {}
        self._draining = False
        self._pids = itertools.count(100)
        self._jobs: dict[str, Job] = {job.name: job for job in self.plan.jobs}
        for template in self.plan.templates:
            self.feed(cues.TemplateRendered(template.name, template.destination))
        self._apply_effects(self.core.begin(0.0, self.wall_offset))

    # --- time ---

    def schedule(self, delay: float, cue: cues.Cue) -> None:
        """Feed a cue `delay` seconds from now."""
        heapq.heappush(self._pending_cues, (self.now + delay, next(self._order), cue))

    def run(self, end_time: float) -> SimulatedWorld:
        """Let the time pass.

        Args:
            end_time: The moment to stop at, unless the life ends before.

        Raises:
            TooManyEventsError: The life has more than MAX_EVENTS events.
        """
        while self.finish is None:
            deadline = self.core.get_deadline()
            event = self._pending_cues[0][0] if self._pending_cues else None
            if len(self.events) > MAX_EVENTS:
                raise TooManyEventsError(f"more than {MAX_EVENTS} events within {self.now:g} s")
            upcoming = min((t for t in (deadline, event) if t is not None), default=None)
            if upcoming is None or upcoming > end_time:
                self.now = end_time
                break
            assert upcoming >= self.now - 1e-6, "a deadline in the past would spin"
            self.now = max(self.now, upcoming)
            if event is not None and event <= self.now:
                self._deliver(heapq.heappop(self._pending_cues)[2])
            else:
                self._apply_effects(self.core.tick(self.now, self.now + self.wall_offset))
                after = self.core.get_deadline()
                assert after is None or after > self.now - 1e-9
        return self

    def feed(self, cue: cues.Cue) -> None:
        """Feed a cue now."""
        self._apply_effects(self.core.feed(cue, self.now, self.now + self.wall_offset))

    def _deliver(self, cue: cues.Cue) -> None:
        if isinstance(cue, cues.Exited):
            if self.live_runs.get(cue.job) != cue.run or cue.job in self._leftovers:
                return  # the run is over already, or its leader is
            if cue.leftovers:
                self._leftovers[cue.job] = cue.leftovers
            else:
                del self.live_runs[cue.job]
        if isinstance(cue, cues.GroupEmptied):
            if self.live_runs.get(cue.job) != cue.run:
                return
            del self.live_runs[cue.job]
            self._leftovers.pop(cue.job, None)
        self.feed(cue)

    # --- effects of the core ---

    def _apply_effects(self, effects: list[Effect]) -> None:
        for effect in effects:
            assert self.finish is None, f"{effect} after the end"
            if isinstance(effect, Event):
                self.events.append((self.now, effect))
                self._stop_agent(effect)
            else:
                self.actions.append((self.now, effect))
                self._perform(effect)

    def _stop_agent(self, event: Event) -> None:
        agent = self.plan.consul_agent
        if agent is not None and isinstance(event, events.JobStopping) and event.job == agent.job:
            self.schedule(0.1, cues.Deregistered())

    def complete_drain_if_empty(self) -> None:
        """Complete a drain that was waiting for the last payload."""
        if self._draining and not self.core.payloads:
            self._draining = False
            self.schedule(0.0, cues.Drained())

    def _perform(self, action: Action) -> None:  # noqa: PLR0912 - one arm for each action
        match action:
            case actions.Spawn(job, run):
                assert job not in self.live_runs, f"two runs of {job} at once"
                self.live_runs[job] = run
                self.schedule(0, cues.Spawned(job, run, next(self._pids)))
                behaviour = self._get_behaviour(job)
                duration = behaviour.run_duration(self.rng)
                if duration is not None:
                    self.schedule(duration, cues.Exited(job, run, behaviour.status(self.rng), behaviour.leftovers))
            case actions.Signal(job, run, number):
                assert self.live_runs.get(job) == run, "a signal to a run that is over"
                if not self._get_behaviour(job).ignores_signals:
                    self._end_run(job, run, EXIT_BY_SIGNAL.get(number, 128 + number), 0.01)
            case actions.Kill(job, run):
                if (delay := self._get_behaviour(job).kill_delay) is not None:
                    self._end_run(job, run, 137, delay)
            case actions.RunCheck(job, run):
                behaviour = self._get_behaviour(job)
                passed = behaviour.check(self.rng)
                if passed is not None:
                    output = behaviour.check_output or ("passed" if passed else "failed")
                    self.schedule(behaviour.check_duration, cues.CheckFinished(job, run, passed, output))
            case actions.AskGate(name, attempt):
                gate = self.gates.get(name, GateBehaviour())
                passed = gate.check(self.rng)
                if passed is not None:
                    output = gate.output or ("passed" if passed else "failed")
                    self.schedule(gate.duration, cues.GateAnswered(name, attempt, passed, output))
            case actions.RequestPermit():
                self.schedule(0.0, cues.PermitGranted(confirmed=True))
            case actions.StartDrain() if self.drain_ends_with_payloads:
                self._draining = True
                self.complete_drain_if_empty()
            case actions.StartDrain() if self.drain_duration is not None:
                self.schedule(self.drain_duration, cues.Drained())
            case actions.EvictPayloads():
                self.schedule(0.4, cues.Evicted())
            case actions.KillPayloads():
                self.schedule(0.1, cues.Drained())
            case actions.Finish():
                self.finish = action

    def _end_run(self, job: str, run: int, status: int, delay: float) -> None:
        if job in self._leftovers:
            self.schedule(delay, cues.GroupEmptied(job, run))
        else:
            self.schedule(delay, cues.Exited(job, run, status))

    def _get_behaviour(self, job: str) -> Behaviour:
        return self.behaviours.get(job, Behaviour())

    # --- the record ---

    def list_times(self, kind: type[Event], job: str = "") -> list[float]:
        """Return the moments of all events of a kind and source."""
        return [at for at, event in self.events if isinstance(event, kind) and event.source == job]

    def list_spawn_times(self, job: str) -> list[float]:
        """Return the moments at which a job's processes were started."""
        return [at for at, action in self.actions if isinstance(action, actions.Spawn) and action.job == job]
