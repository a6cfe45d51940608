"""An empty slot: why it is empty, and the one step that helps."""

from __future__ import annotations

from collections.abc import Sequence

from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.image_planner import get_preparation_step
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.rollout import DigestChoice, list_digest_choices
from autopilot_watchdog.core.slot_actions import Action, Start


def plan_empty_slot(context: DecisionContext, memory: Memory, name: str) -> tuple[Reason, Action | None]:
    """The slot's reason and, unless it must wait, the next step towards filling it."""
    waiting = _find_wait_reason(context, memory, name)
    if waiting is not None:
        return waiting, None
    group, now = context.groups[name], context.now
    image = memory.get_image(group.image_key)
    waits: list[str] = []
    for choice in list_digest_choices(memory, group.image_key, context.config, now):
        trial = image.get_digest_record(choice.digest, now)
        step = get_preparation_step(group, context.views[group.engine], image, choice.digest)
        if step is None:
            return Reason("starting", _explain_start(choice, image, waits, now)), Start(name, choice.digest)
        if now >= trial.not_before:
            return Reason("preparing", f"{type(step).__name__.lower()} of {choice.digest[:19]}, {choice.reason}"), step
        waits.append(f"{choice.digest[:19]}: {trial.trouble}; next try in {trial.not_before - now:.0f} s")
    return Reason("no-image", "; ".join(waits) or _explain_no_image(image)), None


def _find_wait_reason(context: DecisionContext, memory: Memory, name: str) -> Reason | None:
    """Why nothing may be started in the slot now, whatever the image."""
    slot, now = memory.get_slot(name), context.now
    if memory.paused:
        return Reason("paused", "the operator paused the watchdog (resume ends that)")
    if context.observation.unfit_reasons:
        return Reason("host-unfit", "; ".join(context.observation.unfit_reasons))
    if now < slot.not_before:
        trial = memory.get_image(context.groups[name].image_key).trials.get(slot.digest)
        last = trial.trouble if trial and trial.trouble else "its last life was short"
        said = f"{slot.streak} short or failed lives in a row; next start in {slot.not_before - now:.0f} s; {last}"
        return Reason("backoff", said)
    if now < memory.not_before:
        said = f"{memory.streak} failed lives in a row on this host; next start in {memory.not_before - now:.0f} s"
        return Reason("host-backoff", said)
    return None


def _explain_start(choice: DigestChoice, image: ImageMemory, waits: Sequence[str], now: float) -> str:
    said = f"{choice.digest[:19]}, {choice.reason}"
    if image.trouble:
        age = f"last answered {now - image.head_at:.0f} s ago" if image.head_at else "has never answered"
        said += f"; the registry {age} ({image.trouble})"
    return "; ".join([said, *waits])


def _explain_no_image(image: ImageMemory) -> str:
    if image.trouble:
        return f"no digest is known good here and the registry does not help: {image.trouble}"
    if image.head in image.quarantine:
        return f"{image.head[:19]} is quarantined ({image.quarantine[image.head].reason}) and no good one is known"
    return "the registry has not been asked yet"
