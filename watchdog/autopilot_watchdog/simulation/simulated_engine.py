"""Simulate a container engine in virtual time, behind the same port as the real ones (engine/engine.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from autopilot_watchdog.config.slot_claims import compute_claims
from autopilot_watchdog.config.slot_config import SlotGroup, format_slot_name
from autopilot_watchdog.core.observation import Container, LastWords
from autopilot_watchdog.core.state_ownership import ForeignContainer
from autopilot_watchdog.engine.engine import EngineUnreachableError, PullError
from autopilot_watchdog.even_hash import hash_to_fraction
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry

SECONDS_PER_HOUR = 3600.0
DRAIN_S = 1800.0  # a drained container's payloads end within this time
BROKEN_HOST_FAILS_AFTER_S = 5.0


class SimulatedEngine:
    """Engine in virtual time: containers end as the behaviour of their digest says.

    The owner sets `now`, in seconds of virtual time, before its calls. `clock_skew` is the lead of the host's clock;
    containers carry times of that clock, all other times here are virtual.
    """

    def __init__(
        self,
        name: str,
        registry: SimulatedRegistry,
        is_broken: Callable[[float], bool] = lambda now: False,
        *,
        staggered: bool = False,
        find_fault: Callable[[str, str, float], float | None] = lambda slot, digest, started: None,
    ) -> None:
        """Create an engine without containers.

        Args:
            name: The engine's name in the configuration.
            registry: The registry with the digests' behaviours.
            is_broken: Tells whether containers that start at a time fail on this host.
            staggered: True if the first lives of the slots are shortened at random, so that they do not end together.
            find_fault: Returns the age in seconds at which a life fails because of its slot, host or network, from
                slot, digest and start; None if none of them is broken then.
        """
        self.name = name
        self.storage_folder = ""
        self.now = 0.0
        self.clock_skew = 0.0
        self.is_up = True
        self.digests: set[str] = set()
        self.started_at: dict[str, float] = {}  # by container
        self.ends_at: dict[str, float] = {}
        self.started_count = 0
        self._registry = registry
        self._is_broken = is_broken
        self._staggered = staggered
        self._find_fault = find_fault
        self._failing: set[str] = set()  # containers that end by a fault
        self._containers: dict[str, Container] = {}
        self._final_words: dict[str, LastWords | None] = {}  # by dead container

    def get_platform(self) -> tuple[str, str]:
        """Return operating system and architecture."""
        return "linux", "amd64"

    def list_containers(self) -> list[Container]:
        """Return every container, after ending those with a time that has come."""
        if not self.is_up:
            raise EngineUnreachableError(f"cannot reach {self.name}")
        for id, end in list(self.ends_at.items()):
            if end <= self.now:
                self.end_container(id, end)
        return list(self._containers.values())

    def list_foreign_containers(self) -> list[ForeignContainer]:
        """Return nothing: a simulated engine has one owner."""
        return []

    def start_container(
        self, group: SlotGroup, number: int, digest: str, *, host: str, state_folder: str | None
    ) -> str:
        """Start a container and draw its end."""
        self.started_count += 1
        id, slot = f"{host}/{self.started_count}", format_slot_name(group.name, host, number)
        behaviour = self._registry.get_behaviour(digest)
        age = behaviour.lifetime + behaviour.jitter * hash_to_fraction(id, "lifetime")
        if self._staggered and self.started_count <= group.count:
            age *= hash_to_fraction(id, "age")
        if self._is_broken(self.now):
            age = BROKEN_HOST_FAILS_AFTER_S
        fault = self._find_fault(slot, digest, self.now)
        if fault is not None:
            age = fault
            self._failing.add(id)
        if behaviour.fails_after is not None:
            age = min(age, behaviour.fails_after) if fault is not None else behaviour.fails_after
        self.started_at[id] = self.now
        self.ends_at[id] = self.now + age
        name, started = f"{slot}-{self.started_count}", self.now + self.clock_skew
        container = Container(id, name, self.name, slot, digest, group.image, "running", started=started)
        self._containers[id] = replace(container, claims=compute_claims(group, host, number))
        return id

    def remove_container(self, container: str) -> None:
        """Forget a container."""
        for known in (self._containers, self._final_words, self.started_at, self.ends_at):
            known.pop(container, None)
        self._failing.discard(container)

    def find_container_root(self) -> int:
        """Return root: the engine is not rootless."""
        return 0

    def stop_container(self, container: str, timeout: float) -> None:
        """End a container from outside."""
        self.end_container(container, self.now, 143)

    def read_logs(self, container: str, lines: int = 20) -> str:
        """Return nothing: simulated containers print nothing."""
        return ""

    def follow_logs(self, container: str, lines: int) -> Iterator[str]:
        """Yield nothing: simulated containers print nothing."""
        yield from ()

    def execute_command(self, container: str, command: tuple[str, ...], timeout: float = 30) -> tuple[int, str]:
        """Drain the container, whatever the command."""
        self.ends_at[container] = min(self.ends_at[container], self.now + DRAIN_S)
        return 0, ""

    def watch_container_ends(self) -> Iterator[str]:
        """Yield "" and then the slots of the containers that have ended by now."""
        yield ""
        yield from (container.slot for container in self.list_containers() if not container.alive)

    def has_image(self, repository: str, digest: str) -> bool:
        """Return True if the digest was pulled."""
        return digest in self.digests

    def pull_image(self, repository: str, digest: str, *, auth: dict[str, str] | None, timeout: float) -> None:
        """Pull a digest at once; fail during an outage of the registry."""
        if self._registry.is_down(self.now):
            raise PullError("connection refused")
        self._registry.pull_counts[int(self.now // 60)] += 1
        self.digests.add(digest)

    def remove_image(self, repository: str, digest: str) -> None:
        """Forget a digest."""
        self.digests.discard(digest)

    def run_preflight(self, group: SlotGroup, digest: str, command: tuple[str, ...], timeout: float) -> tuple[int, str]:
        """Accept every image."""
        return 0, ""

    def remove_preflight_containers(self) -> None:
        """Do nothing: pre-flights leave nothing behind."""

    def end_container(self, id: str, now: float, exit_code: int | None = None) -> None:
        """End a container by its own behaviour or, with an exit code, from outside and without last words."""
        container, started = self._containers[id], self.started_at[id]
        self.ends_at.pop(id, None)
        behaviour = self._registry.get_behaviour(container.digest)
        fails = behaviour.fails_after is not None or self._is_broken(started) or id in self._failing
        status = (behaviour.exit_code if fails else 0) if exit_code is None else exit_code
        self._final_words[id] = None
        if exit_code is None and behaviour.writes_last_words:
            good = now - started >= behaviour.good_after and not self._is_broken(started) and id not in self._failing
            reason = behaviour.reason if fails else "lifetime"
            words = LastWords("ended", reason, exit_code=status, good=good)
            self._final_words[id] = self._count_payloads(words, behaviour, now - started)
        ended = now + self.clock_skew
        self._containers[id] = replace(container, state="exited", ended=ended, exit_code=status)

    def get_last_words(self, container: Container) -> LastWords | None:
        """Return the last words that the container has written by now; None for none."""
        if not container.alive:
            return self._final_words[container.id]
        behaviour = self._registry.get_behaviour(container.digest)
        if not behaviour.writes_last_words:
            return None
        started = self.started_at[container.id]
        healthy = not self._is_broken(started) and container.id not in self._failing
        age = self.now - started
        return self._count_payloads(LastWords(good=healthy and age >= behaviour.good_after), behaviour, age)

    @staticmethod
    def _count_payloads(words: LastWords, behaviour: DigestBehaviour, age: float) -> LastWords:
        """Return last words with the payloads that have ended at an age in seconds."""
        finished = int(behaviour.payloads_per_hour * age / SECONDS_PER_HOUR)
        failed = int(finished * behaviour.failing_payloads)
        return replace(words, payloads_finished=finished, payloads_failed_fast=failed)

    def list_alive(self) -> list[Container]:
        """Return the living containers, also while the engine is down."""
        return [container for container in self._containers.values() if container.alive]

    def find_next_end(self) -> float | None:
        """Return the time of the next end of a container; None without containers."""
        return min(self.ends_at.values(), default=None)

    def find_next_proof(self, now: float) -> float:
        """Return the time at which a container will next have proved its image good; infinity for never."""
        times = (
            self.started_at[container.id] + self._registry.get_behaviour(container.digest).good_after
            for container in self.list_alive()
        )
        return min((at for at in times if at > now), default=math.inf)
