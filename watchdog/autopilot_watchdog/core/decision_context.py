"""Gather the inputs of a decision that stay the same while it is made; the memory changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    alive_containers: dict[str, Container]  # by slot of the configuration
    surplus: tuple[Container, ...]  # other living ones: of no slot, or of one that has another container


def build_context(config: Config, observation: Observation, now: float) -> DecisionContext:
    """Index an observation by slot and by engine."""
    views = {name: view for name, view in observation.engines.items() if isinstance(view, EngineView)}
    groups = {name: group for name, (group, _) in config.map_slots_to_groups().items()}
    used = {group.engine for group in groups.values()}
    # two names may lead to one engine: a container is taken once, of the configuration's engine if possible
    by_id: dict[str, Container] = {}
    for name in sorted(views, key=lambda name: name not in used):
        for container in views[name].containers:
            by_id.setdefault(container.id, container)
    containers = tuple(by_id.values())
    alive = _choose_by_slot(containers, groups)
    chosen = {container.id for container in alive.values()}
    surplus = tuple(container for container in containers if container.alive and container.id not in chosen)
    return DecisionContext(config, observation, now, groups, views, containers, alive, surplus)


def _choose_by_slot(containers: tuple[Container, ...], groups: Mapping[str, SlotGroup]) -> dict[str, Container]:
    """Return the living container of each slot: that on the slot's engine, else the oldest one."""
    candidates = [container for container in containers if container.alive and container.slot in groups]

    def rank(container: Container) -> tuple[bool, float, str]:
        return container.engine != groups[container.slot].engine, container.started or math.inf, container.id

    return {container.slot: container for container in sorted(candidates, key=rank, reverse=True)}
