"""Plan the next step towards filling an empty slot, and explain the slot's state."""

from __future__ import annotations

from collections.abc import Sequence

from autopilot_watchdog.core import evidence
from autopilot_watchdog.core.cordons import explain_cordon
from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.image_planner import get_preparation_step
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.preparation_progress import STEP_VERBS, describe_step, find_step_in_flight
from autopilot_watchdog.core.preparation_waits import find_failures
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.rollout import DigestChoice, list_slot_choices
from autopilot_watchdog.core.slot_actions import Action, Start
from autopilot_watchdog.core.stuck_containers import explain_stuck_slot
from autopilot_watchdog.sentence_parts import format_lives


def plan_empty_slot(context: DecisionContext, memory: Memory, name: str) -> tuple[Reason, Action | None]:
    """Return the slot's reason and the next step towards filling it; None for the step if the slot must wait.

    A step that is under way holds the slot empty for `rollout.patience`. Then the best digest that is ready is started.
    """
    group, now = context.groups[name], context.now
    choices = list_slot_choices(memory, group, context.config, name, now)
    waiting = _find_wait_reason(context, memory, name, choices)
    if waiting is not None:
        return waiting, None
    present = memory.get_image(group.image_key)
    under_way = find_step_in_flight(context.observation, group, choices)
    waits: list[str] = []
    for choice in choices:
        image = memory.get_image(choice.key or group.image_key)
        record = image.get_digest_record(choice.digest, now)
        step = get_preparation_step(group, context.views[group.engine], image, choice.digest, choice.key)
        if step is None:
            return Reason("starting", _explain_start(choice, present, waits, now)), Start(
                name, choice.digest, choice.key, choice.reason
            )
        if under_way is not None:
            progress = describe_step(*under_way, now)
            if now < under_way[1] + context.config.find_rollout(group).patience:
                return Reason("preparing", f"{progress}, {choice.reason}"), None
            waits = [progress]
            continue
        failures = find_failures(record, step)
        if now >= failures.not_before:
            sentence = f"the watchdog {STEP_VERBS[type(step)]} {choice.digest[:19]} first, {choice.reason}"
            return Reason("preparing", sentence), step
        retry = f"the next try is in {failures.not_before - now:.0f} s"
        waits.append(f"{choice.digest[:19]} cannot be prepared ({failures.trouble}), {retry}")
    if under_way is not None:
        return Reason("preparing", "; ".join(waits)), None
    return Reason("no-image", "; ".join(waits) or _explain_no_image(present)), None


def _find_wait_reason(
    context: DecisionContext, memory: Memory, name: str, choices: Sequence[DigestChoice]
) -> Reason | None:
    """Return the reason why no image may be started in the slot now; None if one may."""
    slot, now = memory.get_slot(name), context.now
    if kept_empty := _explain_pause(memory) or explain_stuck_slot(memory, name) or explain_cordon(memory, name):
        return kept_empty
    if context.observation.unfit_reasons:
        return Reason("host-unfit", f"the host is not fit: {'; '.join(context.observation.unfit_reasons)}")
    if now < slot.not_before and not (choices and evidence.is_untried(slot, choices[0].digest)):
        record = memory.get_image(context.groups[name].image_key).records.get(slot.digest)
        last = record.trouble if record and record.trouble else "the last life was short"
        wait = f"the next start is in {slot.not_before - now:.0f} s"
        failing = sum(failures.count > 0 for failures in slot.failed.values())
        advice = f"; {failing} digests fail in this slot, so look at the slot itself" if failing > 1 else ""
        were = "was" if slot.streak == 1 else "were"
        return Reason("backoff", f"{format_lives(slot.streak)} failed or {were} short, {wait}; {last}{advice}")
    # a slot without a failed life is tried though the host waits: its life tells the host from its broken slots
    if now < memory.not_before and evidence.has_failing_digest(slot):
        wait = f"the next start is in {memory.not_before - now:.0f} s"
        return Reason("host-backoff", f"{format_lives(memory.streak)} failed on this host, {wait}")
    return None


def _explain_pause(memory: Memory) -> Reason | None:
    return Reason("paused", "the operator paused the watchdog; `resume` ends that") if memory.paused else None


def _explain_start(choice: DigestChoice, image: ImageMemory, waits: Sequence[str], now: float) -> str:
    parts = [f"the watchdog starts {choice.digest[:19]}, {choice.reason}"]
    if image.trouble:
        age = f"last answered {now - image.answered_at:.0f} s ago" if image.answered_at else "has never answered"
        parts.append(f"the registry {age} ({image.trouble})")
    return "; ".join([*parts, *waits])


def _explain_no_image(image: ImageMemory) -> str:
    if image.trouble:
        return f"no digest is known to be good and the registry gave no answer: {image.trouble}"
    if image.newest in image.quarantine:
        reason = image.quarantine[image.newest].reason
        return f"the newest digest {image.newest[:19]} is quarantined ({reason}) and no good one is known"
    return "the registry has not been asked yet"
