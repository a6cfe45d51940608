"""Plan the drain of old containers after an urgent push, such as a security fix; no job is killed.

One slot of the host drains first, as a canary. The others follow after the new digest has proved good on this host. If
the urgency is a date, the slots' turns are spread over the remaining time.
"""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.config.canary_slots import CanaryGroup
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import canary_state, evidence
from autopilot_watchdog.core.cordons import find_cordon
from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.drain_deadline import compute_drain_deadline
from autopilot_watchdog.core.image_planner import get_preparation_step
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.slot_actions import Drain
from autopilot_watchdog.even_hash import hash_to_fraction


def plan_drains(context: DecisionContext, memory: Memory) -> Iterator[tuple[float, Drain]]:
    """Yield the drains that are allowed, each with the epoch seconds of its turn."""
    config, alive, views = context.config, context.alive_containers, context.views
    for group, names in _list_followers(context, memory):
        key, newest = canary_state.find_target(memory, group)
        image = memory.get_image(key)
        record = image.records.get(newest)
        if record is None or image.pin or newest in image.quarantine or memory.paused:
            continue
        deadline = compute_drain_deadline(memory, record)
        if (
            deadline is None
            or group.engine not in views
            or get_preparation_step(group, views[group.engine], image, newest, key)
        ):
            continue
        group_containers = [alive[name] for name in names if name in alive]
        fillable = [name for name in names if find_cordon(memory, name) is None]
        missing = sum(name not in alive for name in fillable)
        old = [
            container for container in group_containers if container.digest != newest and container.state == "running"
        ]
        if evidence.find_doubting_slots(memory, newest, config.failures):
            continue  # it is being compared with a good one
        proved = any(good.digest == newest for good in image.known_good)
        changing = missing + sum(_is_draining(container, memory) for container in old)
        canary_runs = any(container.digest == newest for container in group_containers)
        for container in old:
            if _is_draining(container, memory) or not (proved or (not changing and not canary_runs)):
                continue
            span = max(0.0, deadline - record.first_seen)
            turn = record.first_seen + span * hash_to_fraction(config.host, container.slot, newest)
            changing += turn <= context.now
            yield turn, Drain(container.id, container.slot, container.engine)


def _list_followers(context: DecisionContext, memory: Memory) -> Iterator[tuple[SlotGroup, list[str]]]:
    """Yield every channel with the slots that follow it: canary slots follow their canary while it is under way."""
    for group in context.config.list_channels():
        names = [name for name, found in context.groups.items() if found.name == group.name]
        yield group, [name for name in names if _find_leader(context.groups[name], memory) == group.image_key]


def _find_leader(group: SlotGroup, memory: Memory) -> str:
    """Return the key of the image whose urgency counts for the slots of a group."""
    if isinstance(group, CanaryGroup) and canary_state.explain_end(memory, group):
        return group.stable_key
    return group.image_key


def _is_draining(container: Container, memory: Memory) -> bool:
    return container.id in memory.drained or (container.last_words is not None and container.last_words.draining)
