"""Virtual hosts, containers and a registry. Only the decisions are real, and those are the product's own."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import memory_updates
from autopilot_watchdog.core.decide import decide, list_images_to_check
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import (
    Container,
    EngineDown,
    EngineView,
    LastWords,
    Observation,
    RegistryFailure,
    TagDigest,
)
from autopilot_watchdog.core.observation import FleetState as Fleetwide
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.retry_delay import hash_to_fraction
from autopilot_watchdog.core.slot_actions import (
    Action,
    Drain,
    Outcome,
    Pull,
    RemoveContainer,
    RemoveImage,
    ShareQuarantine,
    Start,
)

MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class DigestBehaviour:
    """How the lives of a digest go. Seconds."""

    lifetime: float = 24 * 3600.0
    jitter: float = 4 * 3600.0  # uniformly more
    good_after: float = 120.0
    fails_after: float | None = None  # it exits with status 1 so long after its start
    urgency: str = ""
    writes_last_words: bool = True  # it leaves last words


@dataclass(slots=True)
class SimulatedRegistry:
    """What a tag was from when on, when nobody could ask, and how often it was asked."""

    pushes: list[tuple[float, str]]
    outages: list[tuple[float, float]] = field(default_factory=list)
    behaviours: Mapping[str, DigestBehaviour] = field(default_factory=dict)
    shared_quarantine: dict[str, str] = field(default_factory=dict)  # the fleet's quarantine, in Consul
    request_counts: Counter[int] = field(default_factory=Counter)  # by minute
    pull_counts: Counter[int] = field(default_factory=Counter)

    def find_next_change(self, since: float) -> float:
        """When it will first answer otherwise than at `since`."""
        times = [at for at, _ in self.pushes] + [at for outage in self.outages for at in outage]
        return min((at for at in times if at > since), default=math.inf)

    def is_down(self, now: float) -> bool:
        return any(begin <= now < end for begin, end in self.outages)

    def request_tag_digest(self, now: float) -> TagDigest | RegistryFailure:
        self.request_counts[int(now // 60)] += 1
        return self.get_tag_digest(now)

    def get_tag_digest(self, now: float) -> TagDigest | RegistryFailure:
        if self.is_down(now):
            return RegistryFailure("connection refused")
        digest = [pushed for at, pushed in self.pushes if at <= now][-1]
        return TagDigest(digest, urgency=self.get_behaviour(digest).urgency)

    def get_behaviour(self, digest: str) -> DigestBehaviour:
        return self.behaviours.get(digest, DigestBehaviour())


class SimulatedHost:
    """One host: an engine, its containers, and the watchdog's memory."""

    def __init__(
        self,
        config: Config,
        registry: SimulatedRegistry,
        is_broken: Callable[[float], bool] = lambda now: False,
        *,
        staggered: bool = False,
    ) -> None:
        """`settled`: the first lives have already lasted for a while, so that they do not all end together."""
        self.staggered = staggered
        self.config = config
        self.registry = registry
        self.memory = Memory()
        self.containers: dict[str, Container] = {}
        self.started_at: dict[str, float] = {}  # by container; in virtual time, as the following
        self.ends_at: dict[str, float] = {}
        self.digests: set[str] = set()
        self.engine_up = True
        self.unfit_reasons: tuple[str, ...] = ()
        self.is_broken = is_broken  # whatever starts here then fails
        self.started_count = 0
        self.reasons: dict[str, Reason] = {}
        self.executed_actions: list[tuple[float, Action]] = []
        self.clock_skew = 0.0  # how much its clock is ahead of virtual time
        self.idle = False  # at the last pass every slot had its container, and there was nothing to do
        self.wake_at: float | None = None  # when something is due, but for the registry

    def observe(self, now: float) -> Observation:
        for id, end in list(self.ends_at.items()):
            if end <= now:
                self.end_container(id, end)
        seen = tuple(self._attach_last_words(container, now) for container in self.containers.values())
        engine = self.config.slots[0].engine
        view = EngineView(seen, frozenset(self.digests)) if self.engine_up else EngineDown("cannot reach the engine")
        return Observation({engine: view}, unfit_reasons=self.unfit_reasons, boot="1", booted=self.clock_skew)

    def run_pass(self, now: float) -> float | None:
        """One pass, as shell.onepass does it; returns when the next is due."""
        tried: set[Action] = set()
        clock = now + self.clock_skew
        for turn in range(MAX_ROUNDS):
            seen = self.observe(now)
            if turn == 0:
                keys = list_images_to_check(self.config, seen, self.memory, clock)
                fleet = Fleetwide(self.registry.shared_quarantine) if self.config.consul else None
                seen = replace(
                    seen, tag_digests={key: self.registry.request_tag_digest(now) for key in keys}, fleet=fleet
                )
            decision = decide(self.config, seen, self.memory, clock)
            self.memory, self.reasons = decision.memory, decision.reasons
            fresh = [action for action in decision.actions if action not in tried]
            if not fresh:
                break
            for action in fresh:
                self.memory = memory_updates.apply_outcome(self.config, self.memory, self._execute(action, now), clock)
                self.executed_actions.append((now, action))
            tried.update(fresh)
        self.idle = self.engine_up and not tried and len(self.list_alive()) == len(self.reasons)
        self.wake_at, ask = (
            None if at is None else at - self.clock_skew for at in (decision.wake_at, decision.ask_registry_at)
        )
        return min((at for at in (self.wake_at, ask) if at is not None), default=None)

    def end_container(self, id: str, now: float, code: int | None = None) -> None:
        """The container ends; by itself, or with that status."""
        container, began = self.containers[id], self.started_at[id]
        self.ends_at.pop(id, None)
        how = self.registry.get_behaviour(container.digest)
        fails = how.fails_after is not None or self.is_broken(began)
        status = code if code is not None else int(fails)
        good = now - began >= how.good_after and not fails
        reason = "job-failed" if status else "lifetime"
        said = (
            LastWords("ended", reason, exit_code=status, good=good) if code is None and how.writes_last_words else None
        )
        self.containers[id] = replace(
            container, state="exited", ended=now + self.clock_skew, exit_code=status, last_words=said
        )

    def list_alive(self) -> list[Container]:
        return [container for container in self.containers.values() if container.alive]

    def find_next_end(self) -> float | None:
        return min(self.ends_at.values(), default=None)

    def find_next_proof(self, now: float) -> float | None:
        """When a life will have proved its image good."""
        lives = (
            (self.started_at[life.id], self.registry.get_behaviour(life.digest).good_after)
            for life in self.list_alive()
        )
        return min((began + after for began, after in lives if began + after > now), default=None)

    def compute_next_check(self, since: float) -> float:
        """When the registry is first asked at `since` or later, as long as nothing happens."""
        every, due = self.config.registry.check_every, math.inf
        for group in self.config.slots:
            asked = self.memory.get_image(group.image_key).asked_at - self.clock_skew
            due = min(due, asked + every * max(1, math.ceil((since - asked) / every)) if since < math.inf else due)
        return due

    def record_skipped_checks(self, now: float) -> None:
        """What passes before `now` would have asked the registry: it has counted them, the memory knows the last."""
        every = self.config.registry.check_every
        for key in {group.image_key: None for group in self.config.slots}:
            asked = at = self.memory.get_image(key).asked_at - self.clock_skew
            while at + every < now:
                at += every
                self.registry.request_counts[int(at // 60)] += 1
            if at > asked:
                self.memory = memory_updates.apply_registry_answers(
                    self.memory, {key: self.registry.get_tag_digest(at)}, at + self.clock_skew
                )

    def _execute(self, action: Action, now: float) -> Outcome:
        match action:
            case Pull(_, digest):
                if self.registry.is_down(now):
                    return Outcome(action, "connection refused")
                self.registry.pull_counts[int(now // 60)] += 1
                self.digests.add(digest)
            case Start(slot, digest):
                return Outcome(action, container=self._start_container(slot, digest, now))
            case RemoveContainer(id):
                self.containers.pop(id, None)
            case Drain(id):
                self.ends_at[id] = min(self.ends_at[id], now + 1800)  # its jobs are over within half an hour
            case ShareQuarantine(_, digest, reason):
                self.registry.shared_quarantine[digest] = reason
            case RemoveImage(_, digest):
                self.digests.discard(digest)
        return Outcome(action)

    def _start_container(self, slot: str, digest: str, now: float) -> str:
        self.started_count += 1
        id = f"{self.config.host}/{self.started_count}"
        how = self.registry.get_behaviour(digest)
        life = how.lifetime + how.jitter * hash_to_fraction(id, "lifetime")
        if self.staggered and self.started_count <= self.config.slots[0].count:
            life *= hash_to_fraction(id, "age")
        fails = how.fails_after if how.fails_after is not None else (5.0 if self.is_broken(now) else None)
        self.started_at[id] = now
        self.ends_at[id] = now + (life if fails is None else fails)
        image, engine = self.config.slots[0].image, self.config.slots[0].engine
        name = f"{slot}-{self.started_count}"
        self.containers[id] = Container(id, name, engine, slot, digest, image, "running", started=now + self.clock_skew)
        return id

    def _attach_last_words(self, container: Container, now: float) -> Container:
        how = self.registry.get_behaviour(container.digest)
        if not container.alive or not how.writes_last_words:
            return container
        began = self.started_at[container.id]
        good = how.fails_after is None and not self.is_broken(began)
        return replace(container, last_words=LastWords(good=good and now - began >= how.good_after))


class SimulatedFleet:
    """Many hosts in one virtual time. Each has `watch`: a pass when a container ends, and when something is due.

    Most passes only ask the registry and hear what they heard before. Those are counted, not made: nothing would be
    decided in them. `every_pass` makes them all the same (a test holds both against each other).
    """

    def __init__(self, hosts: Iterable[SimulatedHost], begin: float = 0.0, *, every_pass: bool = False) -> None:
        self.hosts = list(hosts)
        self.now = begin
        self._every_pass = every_pass
        self._pass_queue: list[tuple[float, int]] = []
        self._scheduled_at: dict[int, float] = {}  # by host: the one entry of `_due` that counts
        self._shared_count = 0  # quarantines
        for number, host in enumerate(self.hosts):
            # as FixedRandomDelay= does: every host at its own second of the period
            self._schedule_pass(number, begin + 300 * hash_to_fraction(host.config.host, "offset"))

    def run_until(self, end: float) -> None:
        while self._pass_queue and self._pass_queue[0][0] < end:
            at, number = heapq.heappop(self._pass_queue)
            if at != self._scheduled_at[number]:
                continue
            self.now, host = at, self.hosts[number]
            if host.idle and not self._every_pass:
                host.record_skipped_checks(at)
            self._schedule_pass(number, self._compute_next_pass(host, host.run_pass(at)))
            if len(host.registry.shared_quarantine) != self._shared_count:
                self._shared_count = len(host.registry.shared_quarantine)
                self._schedule_quarantine_checks()
        self.now = end
        for host in self.hosts:
            if host.idle and not self._every_pass:
                host.record_skipped_checks(end)

    def compute_share(self, digest: str) -> float:
        """Of the living containers, those that run the digest."""
        living = [container for host in self.hosts for container in host.list_alive()]
        return sum(container.digest == digest for container in living) / len(living) if living else 0.0

    def compute_lost_slot_seconds(self) -> float:
        """Slot-seconds without a container, of all hosts."""
        return sum(sum(host.memory.lost.values()) for host in self.hosts)

    def _schedule_pass(self, number: int, when: float) -> None:
        self._scheduled_at[number] = when
        heapq.heappush(self._pass_queue, (when, number))

    def _compute_next_pass(self, host: SimulatedHost, due: float | None) -> float:
        """When the host's next pass is; of those in which something may be decided."""
        times = [due, host.find_next_end()]
        if host.idle and not self._every_pass:
            news = host.compute_next_check(host.registry.find_next_change(self.now))
            times = [host.wake_at, host.find_next_end(), host.find_next_proof(self.now), news]
        return min((time for time in times if time is not None and time > self.now), default=self.now + 300)

    def _schedule_quarantine_checks(self) -> None:
        """A quarantine was shared: every host hears of it when it next looks."""
        for number, host in enumerate(self.hosts):
            if host.idle:
                self._schedule_pass(number, min(self._scheduled_at[number], host.compute_next_check(self.now)))
