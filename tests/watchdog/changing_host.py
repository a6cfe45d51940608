"""Simulate a host with several engines and a configuration that changes, in virtual time."""

from __future__ import annotations

from itertools import combinations

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_claims import are_in_conflict
from autopilot_watchdog.core import engine_memory
from autopilot_watchdog.core.observation import Container, Observation
from autopilot_watchdog.core.slot_actions import Action, Drain, Outcome, RemoveContainer, Start
from autopilot_watchdog.simulation.simulated_engine import SimulatedEngine
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import SimulatedRegistry

CPUS = 8


class ChangingHost(SimulatedHost):
    """Host with an engine per name; like Watchdog, it looks at those of the configuration and of the memory."""

    def __init__(self, config: Config, registry: SimulatedRegistry) -> None:
        super().__init__(config, registry)
        self.engines: dict[str, SimulatedEngine] = {self.engine.name: self.engine}
        self.boot = "1"

    def get_engine(self, name: str) -> SimulatedEngine:
        """Return an engine of this host; it exists from the first question on."""
        if name not in self.engines:
            found = self.engines[name] = SimulatedEngine(name, self.registry)
            found.started_count = 1000 * len(self.engines)  # so that ids differ, as those of real engines do
        return self.engines[name]

    def list_alive(self) -> list[Container]:
        """Return the living containers of all engines."""
        return [container for engine in self.engines.values() for container in engine.list_alive()]

    def observe(self, now: float) -> Observation:
        """Look at the host."""
        views = {}
        for name in [*self.config.list_engines(), *engine_memory.list_former_engines(self.config, self.memory)]:
            self.engine = self.get_engine(name)
            self.engine.now = now
            views[name] = self._observe_engine()
        return Observation(views, unfit_reasons=self.unfit_reasons, boot=self.boot, booted=0.0, cpus=CPUS)

    def _execute(self, action: Action, now: float) -> Outcome:
        match action:
            case RemoveContainer() | Drain():
                self.engine = self.get_engine(action.engine)
            case Start(slot):
                self.engine = self.get_engine(self.config.map_slots_to_groups()[slot][0].engine)
            case _:
                self.engine = self.get_engine(action.image.rpartition(" ")[0])
        return super()._execute(action, now)

    def end_containers(self, slot: str, now: float) -> None:
        """End the life of a slot on every engine."""
        for engine in self.engines.values():
            for container in engine.list_alive():
                if container.slot == slot:
                    engine.end_container(container.id, now, 0)


def list_doubled_slots(containers: list[Container]) -> list[str]:
    """Return the slots that have two of these containers."""
    slots = [container.slot for container in containers]
    return sorted({slot for slot in slots if slots.count(slot) > 1})


def list_shared_claims(containers: list[Container]) -> list[tuple[str, str]]:
    """Return the pairs of claims of two containers that are of one thing."""
    return [
        (claim, other)
        for one, two in combinations(containers, 2)
        for claim in one.claims.own
        for other in two.claims.own
        if are_in_conflict(claim, other)
    ]
