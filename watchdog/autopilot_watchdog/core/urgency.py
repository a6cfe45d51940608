"""A security fix: old containers are asked to drain, at once or by a date. No job is killed.

First one slot of the host, as a canary; the others only once the new digest has proved good here. Until a date the
slots' turns are spread over the time left.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from autopilot_watchdog.config.model import Config, SlotGroup
from autopilot_watchdog.core.actions import Drain
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.waiting import fraction


def drains(config: Config, living: Mapping[str, Container], memory: Memory, now: float) -> Iterator[Drain]:
    for group in config.slots:
        image = memory.image(group.key)
        trial = image.trials.get(image.head)
        if trial is None or image.pin or image.head in image.quarantine or not _prepared(group, image):
            continue
        deadline = due(trial.urgency or memory.urgency, trial.first_seen)
        if deadline is None or memory.paused:
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
            span = max(0.0, deadline - trial.first_seen)
            if now >= trial.first_seen + span * fraction(config.host, container.slot, image.head):
                underway += 1
                yield Drain(container.id, container.slot, container.engine)


def due(urgency: str, since: float) -> float | None:
    """When everything old should be draining: `since` for "now", else the date's epoch seconds; None: no hurry."""
    if not urgency:
        return None
    if urgency == "now":
        return since
    try:
        date = datetime.datetime.fromisoformat(urgency)
    except ValueError:
        return None  # a typing error in a label must not drain a farm
    return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()


def _prepared(group: SlotGroup, image: ImageMemory) -> bool:
    trial = image.trials[image.head]
    return trial.pulled and (trial.verified or group.verify is None) and (trial.preflighted or group.preflight is None)


def _draining(container: Container, memory: Memory) -> bool:
    return container.id in memory.drained or (container.words is not None and container.words.draining)
