"""Find the living container of a slot for a verb that acts on it now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup, fill_group
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container, EngineDown
from autopilot_watchdog.engine.engine import Engine
from autopilot_watchdog.engine.engine_registry import create_engines
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.shell.observe import observe_engine


class SlotError(WatchdogError):
    """The slot's container cannot be found; `is_unknown` is True if an engine does not answer."""

    def __init__(self, message: str, *, is_unknown: bool = False) -> None:
        self.is_unknown = is_unknown
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class LiveSlot:
    """Living container of a slot with its engine and its group; None for the group of a surplus container."""

    slot: str
    container: Container
    engine: Engine
    group: SlotGroup | None


class SlotFinder:
    """View of the living containers of this host at one moment."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._troubles: dict[str, str] = {}  # by engine
        self._live: dict[str, LiveSlot] = {}
        self._groups = config.map_slots_to_groups()
        for engine in create_engines(config).values():
            view = observe_engine(config, engine, Memory())
            if isinstance(view, EngineDown):
                self._troubles[engine.name] = view.sentence
                continue
            for container in view.containers:
                if container.alive:
                    self._live[container.slot] = LiveSlot(
                        container.slot, container, engine, self._fill_group(container.slot)
                    )

    @property
    def slots(self) -> list[str]:
        """Names of the configured slots, and of surplus ones with a container."""
        return list(dict.fromkeys([*self._groups, *self._live]))

    @property
    def silent_engines(self) -> set[str]:
        """Names of the engines that do not answer."""
        return set(self._troubles)

    @property
    def troubles(self) -> list[str]:
        """Sentences about engines that do not answer."""
        return list(self._troubles.values())

    def list_live(self, slots: Iterable[str] = ()) -> list[LiveSlot]:
        """Return the living containers of slots, or of every slot.

        Raises:
            SlotError: There is no such slot, or its engine does not answer.
        """
        names = list(dict.fromkeys(slots)) or list(self._live)
        found = []
        for name in names:
            self.check_slot(name)
            if name in self._live:
                found.append(self._live[name])
        return found

    def check_slot(self, name: str) -> None:
        """Raise SlotError for a slot that does not exist or has an engine that does not answer."""
        if name in self._live:
            return
        if name not in self._groups:
            raise SlotError(f"there is no slot {name}; there are {', '.join(self.slots)}", is_unknown=False)
        engine = self._groups[name][0].engine
        if engine in self._troubles:
            raise SlotError(f"the state of {name} is unknown: {self._troubles[engine]}", is_unknown=True)

    def _fill_group(self, slot: str) -> SlotGroup | None:
        if slot not in self._groups:
            return None
        group, number = self._groups[slot]
        return fill_group(group, self._config.host, number)
