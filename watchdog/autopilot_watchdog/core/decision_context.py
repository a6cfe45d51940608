"""Gather the inputs of a decision that stay the same while it is made; the memory changes."""

from __future__ import annotations

from dataclasses import dataclass

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core.observation import Container, EngineView, Observation


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """Inputs of one decision."""

    config: Config
    observation: Observation
    now: float
    groups: dict[str, SlotGroup]  # by slot
    views: dict[str, EngineView]  # engines that answered
    containers: tuple[Container, ...]
    alive_containers: dict[str, Container]  # by slot


def build_context(config: Config, observation: Observation, now: float) -> DecisionContext:
    """Index an observation by slot and by engine."""
    views = {name: view for name, view in observation.engines.items() if isinstance(view, EngineView)}
    containers = tuple(container for view in views.values() for container in view.containers)
    alive = {container.slot: container for container in containers if container.alive}
    groups = {name: group for name, (group, _) in config.map_slots_to_groups().items()}
    return DecisionContext(config, observation, now, groups, views, containers, alive)
