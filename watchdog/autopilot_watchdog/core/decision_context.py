"""Everything a decision is made from but the memory, which changes while it is made."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_watchdog.config.config_model import Config, SlotGroup
from autopilot_watchdog.core.observation import Container, EngineView, Observation


@dataclass(frozen=True, slots=True)
class DecisionContext:
    config: Config
    observation: Observation
    now: float
    groups: dict[str, SlotGroup]  # by slot
    views: dict[str, EngineView]  # engines that answered
    containers: tuple[Container, ...]
    alive_containers: dict[str, Container]  # by slot


def build_context(config: Config, observation: Observation, now: float) -> DecisionContext:
    views = {name: view for name, view in observation.engines.items() if isinstance(view, EngineView)}
    containers = tuple(container for view in views.values() for container in view.containers)
    living = {container.slot: container for container in containers if container.alive}
    groups = {name: group for name, (group, _) in config.map_slots_to_groups().items()}
    return DecisionContext(config, observation, now, groups, views, containers, living)
