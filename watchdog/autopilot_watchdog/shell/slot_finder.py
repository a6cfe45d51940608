"""Find the living containers that a verb acts on now, by their slots' names or their own."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup, fill_group
from autopilot_watchdog.core import engine_memory
from autopilot_watchdog.core.decision_context import build_context
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container, EngineDown, Observation
from autopilot_watchdog.core.surplus import name_surplus
from autopilot_watchdog.engine.engine import Engine
from autopilot_watchdog.engine.engine_registry import create_engine
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.shell.observe import observe_engine
from autopilot_watchdog.shell.state_file import StateStore


class SlotError(WatchdogError):
    """The slot's container cannot be found; `is_unknown` is True if an engine does not answer."""

    def __init__(self, message: str, *, is_unknown: bool = False) -> None:
        self.is_unknown = is_unknown
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class LiveSlot:
    """Living container with its engine."""

    slot: str  # its name in the table of `status`: the slot's, or a surplus container's own
    container: Container
    engine: Engine
    group: SlotGroup | None  # of its slot in the configuration; None for a surplus container


class SlotFinder:
    """View of the living containers of this host at one moment, on the engines of the configuration and former ones."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._groups = config.map_slots_to_groups()
        memory = StateStore(Path(config.state)).peek()
        addresses = config.list_engines() | engine_memory.list_former_engines(config, memory)
        engines = {name: create_engine(name, address, config.state) for name, address in addresses.items()}
        # no digest is looked for: the verbs act on containers only
        views = {name: observe_engine(config, engine, Memory()) for name, engine in engines.items()}
        context = build_context(config, Observation(views), time.time())
        self._held = engine_memory.find_held_slots(context, memory)
        self._silent = {name: view.sentence for name, view in views.items() if isinstance(view, EngineDown)}
        self._troubles = engine_memory.list_silent_engines(config, memory, context.observation)
        self._live = {
            name: LiveSlot(name, one, engines[one.engine], self._fill_group(name))
            for name, one in {**context.alive_containers, **name_surplus(context)}.items()
        }
        self._by_container = {found.container.name: found for found in self._live.values()}

    @property
    def slots(self) -> list[str]:
        """Names of the configured slots, and of surplus ones with a container."""
        return list(dict.fromkeys([*self._groups, *self._live]))

    @property
    def silent_engines(self) -> set[str]:
        """Names of the engines that do not answer."""
        return set(self._silent)

    @property
    def troubles(self) -> list[str]:
        """Sentences about engines that do not answer."""
        return list(self._troubles)

    def list_live(self, names: Iterable[str] = ()) -> list[LiveSlot]:
        """Return the living containers of slots, or every living container.

        Args:
            names: Slots, or names of containers.

        Raises:
            SlotError: There is no such slot or container, or its engine does not answer.
        """
        slots = [self.find_slot(name) for name in names] or list(self._live)
        return [self._live[slot] for slot in dict.fromkeys(slots) if slot in self._live]

    def find_slot(self, name: str) -> str:
        """Return the name in the table of slots for a slot or a container.

        Raises:
            SlotError: There is no such slot or container, or its engine does not answer.
        """
        if name in self._live:
            return name
        if name in self._by_container:
            return self._by_container[name].slot
        if name not in self._groups:
            engines = f" ({'; '.join(self._troubles)})" if self._troubles else ""
            sentence = f"there is no slot {name} and no living container of this name"
            known = f"there are {', '.join(self.slots)}{engines}"
            raise SlotError(f"{sentence}; {known}", is_unknown=bool(engines))
        engine = self._groups[name][0].engine
        if trouble := self._silent.get(engine) or self._held.get(name):
            raise SlotError(f"the state of {name} is unknown: {trouble}", is_unknown=True)
        return name

    def _fill_group(self, slot: str) -> SlotGroup | None:
        if slot not in self._groups:
            return None
        group, number = self._groups[slot]
        return fill_group(group, self._config.host, number)
