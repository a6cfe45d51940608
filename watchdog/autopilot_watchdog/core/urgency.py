"""A security fix: old containers are asked to drain, at once or by a date. No job is killed.

First one slot of the host, as a canary; the others only once the new digest has proved good here. Until a date the
slots' turns are spread over the time left.
"""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.core.actions import Drain
from autopilot_watchdog.core.images import preparing
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.rollout import deadline
from autopilot_watchdog.core.scene import Scene
from autopilot_watchdog.core.waiting import fraction


def drains(here: Scene, memory: Memory) -> Iterator[tuple[float, Drain]]:
    """Who may be asked to drain, and from when on."""
    config, living, views = here.config, here.living, here.views
    for group in config.slots:
        image = memory.image(group.key)
        trial = image.trials.get(image.head)
        if trial is None or image.pin or image.head in image.quarantine or memory.paused:
            continue
        by = deadline(memory, trial)
        if by is None or group.engine not in views or preparing(group, views[group.engine], image, image.head):
            continue
        mine = [living[name] for name in group.slot_names(config.host) if name in living]
        missing = group.count - len(mine)
        old = [container for container in mine if container.digest != image.head and container.state == "running"]
        proved = any(good.digest == image.head for good in image.goods)
        underway = missing + sum(_draining(container, memory) for container in old)
        trying = any(container.digest == image.head for container in mine)
        for container in old:
            if _draining(container, memory) or not (proved or (not underway and not trying)):
                continue
            span = max(0.0, by - trial.first_seen)
            turn = trial.first_seen + span * fraction(config.host, container.slot, image.head)
            underway += turn <= here.now
            yield turn, Drain(container.id, container.slot, container.engine)


def _draining(container: Container, memory: Memory) -> bool:
    return container.id in memory.drained or (container.words is not None and container.words.draining)
