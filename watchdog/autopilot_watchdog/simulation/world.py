"""Virtual hosts, containers and a registry. Only the decisions are real, and those are the product's own."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from autopilot_watchdog.config.model import Config
from autopilot_watchdog.core import learning
from autopilot_watchdog.core.actions import Action, Bury, Drain, Outcome, Pull, RemoveImage, ShareQuarantine, Start
from autopilot_watchdog.core.decide import decide, heads_wanted
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container, EngineDown, EngineView, Head, HeadTrouble, Observation, Words
from autopilot_watchdog.core.observation import Fleet as Fleetwide
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.waiting import fraction

ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the lives of a digest go. Seconds."""

    lifetime: float = 24 * 3600.0
    jitter: float = 4 * 3600.0  # uniformly more
    good_after: float = 120.0
    fails_after: float | None = None  # it exits with status 1 so long after its start
    urgency: str = ""
    speaks: bool = True  # it leaves last words


@dataclass(slots=True)
class Registry:
    """What a tag was from when on, when nobody could ask, and how often it was asked."""

    pushes: list[tuple[float, str]]
    outages: list[tuple[float, float]] = field(default_factory=list)
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)  # the fleet's quarantine, in Consul
    heads: Counter[int] = field(default_factory=Counter)  # by minute
    pulls: Counter[int] = field(default_factory=Counter)

    def changes(self, since: float) -> float:
        """When it will first answer otherwise than at `since`."""
        times = [at for at, _ in self.pushes] + [at for outage in self.outages for at in outage]
        return min((at for at in times if at > since), default=math.inf)

    def down(self, now: float) -> bool:
        return any(begin <= now < end for begin, end in self.outages)

    def head(self, now: float) -> Head | HeadTrouble:
        self.heads[int(now // 60)] += 1
        return self.answer(now)

    def answer(self, now: float) -> Head | HeadTrouble:
        if self.down(now):
            return HeadTrouble("connection refused")
        digest = [pushed for at, pushed in self.pushes if at <= now][-1]
        return Head(digest, urgency=self.behaviour(digest).urgency)

    def behaviour(self, digest: str) -> Behaviour:
        return self.behaviours.get(digest, Behaviour())


class Host:
    """One host: an engine, its containers, and the watchdog's memory."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        broken: Callable[[float], bool] = lambda now: False,
        *,
        settled: bool = False,
    ) -> None:
        """`settled`: the first lives have already lasted for a while, so that they do not all end together."""
        self.settled = settled
        self.config = config
        self.registry = registry
        self.memory = Memory()
        self.containers: dict[str, Container] = {}
        self.began: dict[str, float] = {}  # by container; in virtual time, as the following
        self.ends: dict[str, float] = {}
        self.digests: set[str] = set()
        self.engine_up = True
        self.fit: tuple[str, ...] = ()
        self.broken = broken  # whatever starts here then fails
        self.born = 0
        self.reasons: dict[str, Reason] = {}
        self.done: list[tuple[float, Action]] = []
        self.skew = 0.0  # how much its clock is ahead of virtual time
        self.quiet = False  # at the last pass every slot had its container, and there was nothing to do
        self.wake: float | None = None  # when something is due, but for the registry

    def observe(self, now: float) -> Observation:
        for id, end in list(self.ends.items()):
            if end <= now:
                self.end(id, end)
        seen = tuple(self._with_words(container, now) for container in self.containers.values())
        engine = self.config.slots[0].engine
        view = EngineView(seen, frozenset(self.digests)) if self.engine_up else EngineDown("cannot reach the engine")
        return Observation({engine: view}, unfit=self.fit, boot="1", booted=self.skew)

    def run(self, now: float) -> float | None:
        """One pass, as shell.onepass does it; returns when the next is due."""
        tried: set[Action] = set()
        clock = now + self.skew
        for turn in range(ROUNDS):
            seen = self.observe(now)
            if turn == 0:
                keys = heads_wanted(self.config, seen, self.memory, clock)
                fleet = Fleetwide(self.registry.shared) if self.config.consul else None
                seen = replace(seen, heads={key: self.registry.head(now) for key in keys}, fleet=fleet)
            decision = decide(self.config, seen, self.memory, clock)
            self.memory, self.reasons = decision.memory, decision.reasons
            fresh = [action for action in decision.actions if action not in tried]
            if not fresh:
                break
            for action in fresh:
                self.memory = learning.outcome(self.config, self.memory, self._do(action, now), clock)
                self.done.append((now, action))
            tried.update(fresh)
        self.quiet = self.engine_up and not tried and len(self.living()) == len(self.reasons)
        self.wake, ask = (None if at is None else at - self.skew for at in (decision.wake, decision.ask))
        return min((at for at in (self.wake, ask) if at is not None), default=None)

    def end(self, id: str, now: float, code: int | None = None) -> None:
        """The container ends; by itself, or with that status."""
        container, began = self.containers[id], self.began[id]
        self.ends.pop(id, None)
        how = self.registry.behaviour(container.digest)
        fails = how.fails_after is not None or self.broken(began)
        status = code if code is not None else int(fails)
        good = now - began >= how.good_after and not fails
        reason = "job-failed" if status else "lifetime"
        said = Words("ended", reason, exit_code=status, good=good) if code is None and how.speaks else None
        self.containers[id] = replace(container, state="exited", ended=now + self.skew, exit_code=status, words=said)

    def living(self) -> list[Container]:
        return [container for container in self.containers.values() if container.alive]

    def next_end(self) -> float | None:
        return min(self.ends.values(), default=None)

    def next_proof(self, now: float) -> float | None:
        """When a life will have proved its image good."""
        lives = ((self.began[life.id], self.registry.behaviour(life.digest).good_after) for life in self.living())
        return min((began + after for began, after in lives if began + after > now), default=None)

    def next_check(self, since: float) -> float:
        """When the registry is first asked at `since` or later, as long as nothing happens."""
        every, due = self.config.registry.check_every, math.inf
        for group in self.config.slots:
            asked = self.memory.image(group.key).asked_at - self.skew
            due = min(due, asked + every * max(1, math.ceil((since - asked) / every)) if since < math.inf else due)
        return due

    def catch_up(self, now: float) -> None:
        """What passes before `now` would have asked the registry: it has counted them, the memory knows the last."""
        every = self.config.registry.check_every
        for key in {group.key: None for group in self.config.slots}:
            asked = at = self.memory.image(key).asked_at - self.skew
            while at + every < now:
                at += every
                self.registry.heads[int(at // 60)] += 1
            if at > asked:
                self.memory = learning.heads(self.memory, {key: self.registry.answer(at)}, at + self.skew)

    def _do(self, action: Action, now: float) -> Outcome:
        match action:
            case Pull(_, digest):
                if self.registry.down(now):
                    return Outcome(action, "connection refused")
                self.registry.pulls[int(now // 60)] += 1
                self.digests.add(digest)
            case Start(slot, digest):
                return Outcome(action, container=self._start(slot, digest, now))
            case Bury(id):
                self.containers.pop(id, None)
            case Drain(id):
                self.ends[id] = min(self.ends[id], now + 1800)  # its jobs are over within half an hour
            case ShareQuarantine(_, digest, reason):
                self.registry.shared[digest] = reason
            case RemoveImage(_, digest):
                self.digests.discard(digest)
        return Outcome(action)

    def _start(self, slot: str, digest: str, now: float) -> str:
        self.born += 1
        id = f"{self.config.host}/{self.born}"
        how = self.registry.behaviour(digest)
        life = how.lifetime + how.jitter * fraction(id, "lifetime")
        if self.settled and self.born <= self.config.slots[0].count:
            life *= fraction(id, "age")
        fails = how.fails_after if how.fails_after is not None else (5.0 if self.broken(now) else None)
        self.began[id] = now
        self.ends[id] = now + (life if fails is None else fails)
        image, engine = self.config.slots[0].image, self.config.slots[0].engine
        name = f"{slot}-{self.born}"
        self.containers[id] = Container(id, name, engine, slot, digest, image, "running", started=now + self.skew)
        return id

    def _with_words(self, container: Container, now: float) -> Container:
        how = self.registry.behaviour(container.digest)
        if not container.alive or not how.speaks:
            return container
        began = self.began[container.id]
        good = how.fails_after is None and not self.broken(began)
        return replace(container, words=Words(good=good and now - began >= how.good_after))


class Fleet:
    """Many hosts in one virtual time. Each has `watch`: a pass when a container ends, and when something is due.

    Most passes only ask the registry and hear what they heard before. Those are counted, not made: nothing would be
    decided in them. `every_pass` makes them all the same (a test holds both against each other).
    """

    def __init__(self, hosts: Iterable[Host], begin: float = 0.0, *, every_pass: bool = False) -> None:
        self.hosts = list(hosts)
        self.now = begin
        self._every_pass = every_pass
        self._due: list[tuple[float, int]] = []
        self._planned: dict[int, float] = {}  # by host: the one entry of `_due` that counts
        self._shared = 0  # quarantines
        for number, host in enumerate(self.hosts):
            # as FixedRandomDelay= does: every host at its own second of the period
            self._plan(number, begin + 300 * fraction(host.config.host, "offset"))

    def run_until(self, end: float) -> None:
        while self._due and self._due[0][0] < end:
            at, number = heapq.heappop(self._due)
            if at != self._planned[number]:
                continue
            self.now, host = at, self.hosts[number]
            if host.quiet and not self._every_pass:
                host.catch_up(at)
            self._plan(number, self._after(host, host.run(at)))
            if len(host.registry.shared) != self._shared:
                self._shared = len(host.registry.shared)
                self._tell()
        self.now = end
        for host in self.hosts:
            if host.quiet and not self._every_pass:
                host.catch_up(end)

    def share(self, digest: str) -> float:
        """Of the living containers, those that run the digest."""
        living = [container for host in self.hosts for container in host.living()]
        return sum(container.digest == digest for container in living) / len(living) if living else 0.0

    def lost(self) -> float:
        """Slot-seconds without a container, of all hosts."""
        return sum(sum(host.memory.lost.values()) for host in self.hosts)

    def _plan(self, number: int, when: float) -> None:
        self._planned[number] = when
        heapq.heappush(self._due, (when, number))

    def _after(self, host: Host, due: float | None) -> float:
        """When the host's next pass is; of those in which something may be decided."""
        times = [due, host.next_end()]
        if host.quiet and not self._every_pass:
            news = host.next_check(host.registry.changes(self.now))
            times = [host.wake, host.next_end(), host.next_proof(self.now), news]
        return min((time for time in times if time is not None and time > self.now), default=self.now + 300)

    def _tell(self) -> None:
        """A quarantine was shared: every host hears of it when it next looks."""
        for number, host in enumerate(self.hosts):
            if host.quiet:
                self._plan(number, min(self._planned[number], host.next_check(self.now)))
