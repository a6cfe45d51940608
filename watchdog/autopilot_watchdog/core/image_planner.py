"""Plan the work on images: prepare the newest beside the running ones, remove unused ones."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core.cordons import WHOLE_HOST
from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.observation import EngineView
from autopilot_watchdog.core.preparation_progress import find_step_in_flight
from autopilot_watchdog.core.rollout import list_digest_choices
from autopilot_watchdog.core.slot_actions import Action, Preflight, Preparation, Pull, RemoveImage, Verify


def get_preparation_step(group: SlotGroup, view: EngineView, image: ImageMemory, digest: str) -> Preparation | None:
    """Return the next step towards a digest that can be started; None if it can be started."""
    record = image.get_digest_record(digest, 0.0)
    if digest not in view.digests:
        return Pull(group.image_key, digest)
    if group.verify is not None and not record.verified:
        return Verify(group.image_key, digest)
    if group.preflight is not None and not record.preflighted:
        return Preflight(group.image_key, digest)
    return None


def plan_preparations(context: DecisionContext, memory: Memory) -> dict[str, Action]:
    """Plan a preparing step for each image with a digest that this host may take; return the steps by image key."""
    steps: dict[str, Action] = {}
    if context.observation.unfit_reasons or memory.paused or WHOLE_HOST in memory.cordons:
        return steps
    for group in context.config.slots:
        image = memory.get_image(group.image_key)
        choices = list_digest_choices(memory, group.image_key, context.config, context.now)
        best = next(iter(choices), None)
        if (
            best is None
            or find_step_in_flight(context.observation, group.image_key, [choice.digest for choice in choices])
            or group.engine not in context.views
            or context.now < image.get_digest_record(best.digest, 0.0).not_before
        ):
            continue
        step = get_preparation_step(group, context.views[group.engine], image, best.digest)
        if step is not None:
            steps.setdefault(group.image_key, step)
    return steps


def plan_image_removals(context: DecisionContext, memory: Memory) -> Iterator[Action]:
    """Plan the removal of our images, except running, newest, pinned, last good and second last good ones."""
    for key, group in {group.image_key: group for group in context.config.slots}.items():
        if group.engine not in context.views:
            continue
        image, view = memory.get_image(key), context.views[group.engine]
        kept = {image.newest, image.pin, *(good.digest for good in image.known_good[:2])}
        kept |= {container.digest for container in view.containers}
        # the newest two are kept in any case: none may have proved good yet
        kept |= set(sorted(image.records, key=lambda digest: -image.records[digest].first_seen)[:2])
        for digest, record in image.records.items():
            if record.pulled and digest not in kept and context.now >= record.not_before:
                yield RemoveImage(key, digest)
