"""Plan the work on images: prepare the newest beside the running ones, remove unused ones."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core import group_history
from autopilot_watchdog.core.cordons import WHOLE_HOST
from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.memory import ImageMemory, Memory, split_image_key
from autopilot_watchdog.core.observation import EngineView
from autopilot_watchdog.core.preparation_progress import find_step_in_flight
from autopilot_watchdog.core.preparation_waits import find_failures, format_check
from autopilot_watchdog.core.rollout import list_group_choices
from autopilot_watchdog.core.slot_actions import Action, Preflight, Preparation, Pull, RemoveImage, Verify


def get_preparation_step(
    group: SlotGroup, view: EngineView, image: ImageMemory, digest: str, key: str = ""
) -> Preparation | None:
    """Return the next step towards a digest that can be started; None if it can be started.

    Args:
        group: The group of slots, with its own checks.
        view: The engine's state.
        image: The memory of the image.
        digest: The digest.
        key: The image's key; "" for the group's present image.
    """
    record, key = image.get_digest_record(digest, 0.0), key or group.image_key
    if not view.has_image(key, digest):
        return Pull(key, digest)
    verify, preflight = Verify(key, digest, group.name), Preflight(key, digest, group.name)
    if group.verify is not None and not record.verified and format_check(verify) not in record.passed:
        return verify
    if group.preflight is not None and not record.preflighted and format_check(preflight) not in record.passed:
        return preflight
    return None


def plan_preparations(context: DecisionContext, memory: Memory) -> dict[str, Action]:
    """Plan a preparing step for each channel with a digest that this host may take; return the steps by channel."""
    steps: dict[str, Action] = {}
    if context.observation.unfit_reasons or memory.paused or WHOLE_HOST in memory.cordons:
        return steps
    for group in context.config.list_channels():
        choices = list_group_choices(memory, group, context.config, context.now)
        best = next(iter(choices), None)
        if (
            best is None
            or group.engine not in context.views
            or find_step_in_flight(context.observation, group, choices)
        ):
            continue
        key = best.key or group.image_key
        image = memory.get_image(key)
        step = get_preparation_step(group, context.views[group.engine], image, best.digest, key)
        record = image.get_digest_record(best.digest, 0.0)
        if step is not None and context.now >= find_failures(record, step).not_before:
            steps.setdefault(f"{group.name} {group.image_key}", step)
    return steps


def plan_image_removals(context: DecisionContext, memory: Memory) -> Iterator[Action]:
    """Plan the removal of our images, except those that run and those that a group may need."""
    for key, image in memory.images.items():
        engine, _ = split_image_key(key)
        if engine not in context.views or not any(record.pulled for record in image.records.values()):
            continue
        needed = group_history.list_needed_digests(memory, engine)
        needed |= {container.digest for container in context.views[engine].containers}
        for digest, record in image.records.items():
            if record.pulled and digest not in needed and context.now >= record.not_before:
                yield RemoveImage(key, digest)
