"""Simulate a fleet of hosts in virtual time; only the passes that may decide something are run."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from autopilot_watchdog.even_hash import hash_to_fraction
from autopilot_watchdog.simulation.simulated_host import SimulatedHost

PASS_PERIOD_S = 300.0  # most seconds between two passes
LONGEST_SKIP_S = 3000.0  # with an empty slot: after a longer gap a pass does not count the time as lost


class SimulatedFleet:
    """Fleet of hosts that all run `watch`: a pass when a container ends, and when an action is due.

    Most passes only ask the registry and get the same answer again. They decide nothing, so they are counted and not
    run. `every_pass` runs them all the same; a test compares both.
    """

    def __init__(self, hosts: Iterable[SimulatedHost], begin: float = 0.0, *, every_pass: bool = False) -> None:
        self.hosts = list(hosts)
        self.now = begin
        self._every_pass = every_pass
        self._pass_queue: list[tuple[float, int]] = []
        self._scheduled_at: dict[int, float] = {}  # by host: the valid entry of the queue
        self._voice_changes = 0  # in Consul
        for number, host in enumerate(self.hosts):
            # as FixedRandomDelay= does: every host has its own second of the period
            self._schedule_pass(number, begin + PASS_PERIOD_S * hash_to_fraction(host.config.host, "offset"))

    def run_until(self, end: float) -> None:
        """Run all passes before a time."""
        while self._pass_queue and self._pass_queue[0][0] < end:
            at, number = heapq.heappop(self._pass_queue)
            if at != self._scheduled_at[number]:
                continue
            self.now, host = at, self.hosts[number]
            if host.idle and not self._every_pass:
                host.record_skipped_checks(at)
            self._schedule_pass(number, self._compute_next_pass(host, host.run_pass(at)))
            if host.registry.voice_changes != self._voice_changes:
                self._voice_changes = host.registry.voice_changes
                self._schedule_voice_checks()
        self.now = end
        for host in self.hosts:
            if host.idle and not self._every_pass:
                host.record_skipped_checks(end)

    def compute_share(self, digest: str) -> float:
        """Return the share (0 to 1) of the living containers that run the digest."""
        alive = [container for host in self.hosts for container in host.engine.list_alive()]
        return sum(container.digest == digest for container in alive) / len(alive) if alive else 0.0

    def compute_lost_slot_seconds(self) -> float:
        """Return the slot-seconds without a container, of all hosts."""
        return sum(sum(host.memory.lost.values()) for host in self.hosts)

    def _schedule_pass(self, number: int, when: float) -> None:
        self._scheduled_at[number] = when
        heapq.heappush(self._pass_queue, (when, number))

    def _compute_next_pass(self, host: SimulatedHost, due: float | None) -> float:
        """Return the time of the host's next pass that may decide something."""
        times = [due, host.engine.find_next_end()]
        if host.idle and not self._every_pass:
            changes = [host.find_next_news(), host.engine.find_next_proof(self.now)]
            if not host.full:
                changes += [self.now + LONGEST_SKIP_S, host.find_next_standing(self.now)]
            times = [host.wake_at, host.engine.find_next_end(), host.compute_next_check(min(changes))]
        return min((time for time in times if time is not None and time > self.now), default=self.now + PASS_PERIOD_S)

    def _schedule_voice_checks(self) -> None:
        """Schedule the passes of the idle hosts, to let them learn of new words in Consul."""
        for number, host in enumerate(self.hosts):
            if host.idle:
                self._schedule_pass(number, min(self._scheduled_at[number], host.compute_next_check(self.now)))
