"""A security fix: old containers are asked to drain, at once or by a date. No job is killed.

First one slot of the host, as a canary; the others only once the new digest has proved good here. Until a date the
slots' turns are spread over the time left.
"""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.image_planner import get_preparation_step
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.retry_delay import hash_to_fraction
from autopilot_watchdog.core.rollout import compute_drain_deadline
from autopilot_watchdog.core.slot_actions import Drain


def plan_drains(context: DecisionContext, memory: Memory) -> Iterator[tuple[float, Drain]]:
    """Who may be asked to drain, and from when on."""
    config, living, views = context.config, context.alive_containers, context.views
    for group in config.slots:
        image = memory.get_image(group.image_key)
        trial = image.trials.get(image.head)
        if trial is None or image.pin or image.head in image.quarantine or memory.paused:
            continue
        by = compute_drain_deadline(memory, trial)
        if (
            by is None
            or group.engine not in views
            or get_preparation_step(group, views[group.engine], image, image.head)
        ):
            continue
        mine = [living[name] for name in group.list_slot_names(config.host) if name in living]
        missing = group.count - len(mine)
        old = [container for container in mine if container.digest != image.head and container.state == "running"]
        proved = any(good.digest == image.head for good in image.goods)
        underway = missing + sum(_is_draining(container, memory) for container in old)
        trying = any(container.digest == image.head for container in mine)
        for container in old:
            if _is_draining(container, memory) or not (proved or (not underway and not trying)):
                continue
            span = max(0.0, by - trial.first_seen)
            turn = trial.first_seen + span * hash_to_fraction(config.host, container.slot, image.head)
            underway += turn <= context.now
            yield turn, Drain(container.id, container.slot, container.engine)


def _is_draining(container: Container, memory: Memory) -> bool:
    return container.id in memory.drained or (container.last_words is not None and container.last_words.draining)
