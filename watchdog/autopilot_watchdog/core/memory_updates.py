"""Add the registry's answers and the outcomes of actions to the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core import canary_state, quarantine, stuck_containers, surplus
from autopilot_watchdog.core.memory import DigestRecord, ImageMemory, Memory, SlotMemory, StepFailures
from autopilot_watchdog.core.observation import RegistryFailure, TagDigest
from autopilot_watchdog.core.preparation_waits import find_failures, format_check, replace_failures
from autopilot_watchdog.core.retry_delay import compute_retry_delay
from autopilot_watchdog.core.slot_actions import (
    Action,
    Drain,
    Outcome,
    Preflight,
    Pull,
    RemoveContainer,
    RemoveImage,
    ShareQuarantine,
    Start,
    Verify,
)
from autopilot_watchdog.sentence_parts import format_times

RETRY_INITIAL_S, RETRY_MAX_S = 30.0, 3600.0  # between tries of one pull, signature check or pre-flight
MAX_QUARANTINED_DIGESTS = 50  # per image
MAX_PASSED_CHECKS = 100  # of one digest


def apply_registry_answers(memory: Memory, answers: Mapping[str, TagDigest | RegistryFailure], now: float) -> Memory:
    """Return the memory with the registries' answers of this pass, which are by image key."""
    for key, answer in answers.items():
        image = memory.get_image(key)
        if isinstance(answer, RegistryFailure):
            image = replace(image, asked_at=now, trouble=answer.sentence)
            memory = memory.replace_image(key, image, "registry_failures")
            continue
        if answer.index:
            image = replace(image, platforms={answer.index: answer.digest})  # the old index is never asked for again
        if answer.digest not in image.records:
            image = image.replace_digest_record(answer.digest, DigestRecord(now, urgency=answer.urgency))
        is_new = image.newest != answer.digest
        image = replace(image, newest=answer.digest, answered_at=now, asked_at=now, trouble="")
        if is_new:
            image = _drop_unused_digests(image, {group.promotion.digest for group in memory.groups.values()})
        memory = memory.replace_image(key, image, "registry_answers")
    return memory


def _drop_unused_digests(image: ImageMemory, promoted: set[str]) -> ImageMemory:
    """Forget digests that play no part any more; promoted ones do, because the fleet may quarantine them."""
    latest = dict(sorted(image.quarantine.items(), key=lambda item: -item[1].since)[:MAX_QUARANTINED_DIGESTS])
    kept = {image.newest, image.pin, *promoted, *image.fleet_good, *latest, *(good.digest for good in image.known_good)}
    records = {digest: record for digest, record in image.records.items() if digest in kept or record.pulled}
    return replace(image, quarantine=latest, records=records)


def record_action_start(memory: Memory, action: Action, now: float) -> Memory:
    """Return the memory to be saved before an action, in case the watchdog is killed during the action."""
    if not isinstance(action, Pull):
        return memory
    image = memory.get_image(action.image)
    record = replace(image.get_digest_record(action.digest, now), pulled=True)
    return memory.replace_image(action.image, image.replace_digest_record(action.digest, record))


def apply_outcome(config: Config, memory: Memory, outcome: Outcome, now: float) -> Memory:  # noqa: PLR0911  # one per action
    """Return the memory after an action."""
    match outcome.action:
        case Pull():
            memory = memory.increase_count("pulls_failed" if outcome.error else "pulls")
            return _record_preparation(config, memory, outcome, now)
        case Verify() | Preflight():
            return _record_preparation(config, memory, outcome, now)
        case Start(name, digest):
            key = outcome.action.image or config.map_slots_to_groups()[name][0].image_key
            if outcome.error:
                return quarantine.record_start_failure(
                    memory, key, outcome.action, error=outcome.error, settings=config.failures, now=now
                )
            slot = memory.get_slot(name)
            new_slot = replace(
                SlotMemory(
                    outcome.container, digest, started=now, streak=slot.streak, code=slot.code, since=slot.since
                ),
                failed=slot.failed,
                failing_since=slot.failing_since,
            )
            return memory.replace_slot(name, new_slot).increase_count("starts")
        case RemoveContainer() as removal:
            return stuck_containers.record_removal(memory, removal, outcome.error, now)
        case Drain() if outcome.error:
            return surplus.record_drain_failure(memory, outcome.action, now)
        case Drain(container):
            return replace(memory, drained=(*memory.drained, container)).increase_count("drains")
        case RemoveImage(key, digest) if outcome.error:  # another container may use it: no new try at every pass
            image = memory.get_image(key)
            delayed = replace(image.get_digest_record(digest, now), not_before=now + RETRY_MAX_S)
            return memory.replace_image(key, image.replace_digest_record(digest, delayed))
        case RemoveImage(key, digest):
            image = memory.get_image(key)
            removed = replace(image.get_digest_record(digest, now), pulled=False)
            return memory.replace_image(key, image.replace_digest_record(digest, removed), "images_removed")
        case ShareQuarantine(key, digest) if not outcome.error:
            image = memory.get_image(key)
            shared = replace(image.quarantine[digest], source="shared")
            return memory.replace_image(key, replace(image, quarantine={**image.quarantine, digest: shared}))
    return memory


def _record_preparation(config: Config, memory: Memory, outcome: Outcome, now: float) -> Memory:
    """Record a pull, signature check or pre-flight."""
    assert isinstance(outcome.action, Pull | Verify | Preflight)
    key, digest = outcome.action.image, outcome.action.digest
    image = memory.get_image(key)
    if not outcome.error:
        record = replace_failures(image.get_digest_record(digest, now), outcome.action, StepFailures())
        return memory.replace_image(key, image.replace_digest_record(digest, _mark_passed(record, outcome.action)))
    record = image.get_digest_record(digest, now)
    tries = find_failures(record, outcome.action).tries + 1
    wait = compute_retry_delay(tries, RETRY_INITIAL_S, RETRY_MAX_S, key, digest, config.host)
    record = replace_failures(record, outcome.action, StepFailures(tries, now + wait, outcome.error))
    failures = record.failures + 1 if outcome.blames_image else record.failures
    image = image.replace_digest_record(digest, replace(record, failures=failures))
    users = config.list_channels(with_followed=True)
    is_shared = sum(group.image_key == key for group in users) > 1  # another group may not share the check
    limit = config.failures.quarantine_after
    is_replaceable = _is_replaceable(image, digest) or any(
        _is_replaceable(memory.get_image(other), digest) for other in canary_state.list_way_back(memory, key)
    )
    if outcome.blames_image and failures >= limit and is_replaceable and digest != image.pin and not is_shared:
        reason = f"the image was refused {format_times(failures)}, the last time because {outcome.error}"
        memory, image = quarantine.add_quarantine(memory, image, digest, reason, now=now)
    return memory.replace_image(key, image)


def _mark_passed(record: DigestRecord, step: Pull | Verify | Preflight) -> DigestRecord:
    if isinstance(step, Pull):
        return replace(record, pulled=True)
    return replace(record, passed=(*record.passed, format_check(step))[-MAX_PASSED_CHECKS:])


def _is_replaceable(image: ImageMemory, digest: str) -> bool:
    return digest != image.pin and any(good.digest != digest for good in image.known_good)
