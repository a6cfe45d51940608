"""What the registry's answers and the outcomes of actions add to the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from autopilot_watchdog.config.model import Config
from autopilot_watchdog.core import judging
from autopilot_watchdog.core.actions import (
    Action,
    Drain,
    Outcome,
    Preflight,
    Pull,
    RemoveImage,
    ShareQuarantine,
    Start,
    Verify,
)
from autopilot_watchdog.core.memory import ImageMemory, Memory, Quarantine, SlotMemory, Trial
from autopilot_watchdog.core.observation import Fleet, Head, HeadTrouble
from autopilot_watchdog.core.waiting import delay

RETRY_INITIAL, RETRY_LONGEST = 30.0, 3600.0  # s, between tries of one pull, signature check or pre-flight

REMEMBERED = 50  # quarantined digests per image


def heads(memory: Memory, answers: Mapping[str, Head | HeadTrouble], now: float) -> Memory:
    """The registry's answers of this pass."""
    for key, answer in answers.items():
        image = memory.image(key)
        if isinstance(answer, HeadTrouble):
            image = replace(image, asked_at=now, trouble=answer.sentence)
            memory = memory.with_image(key, image, "registry_failures")
            continue
        if answer.index:
            image = replace(image, platforms={answer.index: answer.digest})  # the old index is never asked for again
        if answer.digest not in image.trials:
            image = image.with_trial(answer.digest, Trial(now, urgency=answer.urgency))
        news = image.head != answer.digest
        image = replace(image, head=answer.digest, head_at=now, asked_at=now, trouble="")
        memory = memory.with_image(key, _pruned(image) if news else image, "registry_answers")
    return memory


def _pruned(image: ImageMemory) -> ImageMemory:
    """Forget digests that play no part any more."""
    held = dict(sorted(image.quarantine.items(), key=lambda item: -item[1].since)[:REMEMBERED])
    kept = {image.head, image.pin, *held, *(good.digest for good in image.goods)}
    trials = {digest: trial for digest, trial in image.trials.items() if digest in kept or trial.pulled}
    return replace(image, quarantine=held, trials=trials)


def fleet(memory: Memory, said: Fleet | None, now: float) -> Memory:
    """What other hosts found out. What is lifted there is lifted here."""
    if said is None:
        return memory
    memory = replace(memory, urgency=said.urgency)
    for key, image in memory.images.items():
        mine = {digest: held for digest, held in image.quarantine.items() if held.source in ("host", "operator")}
        theirs = {
            digest: image.quarantine.get(digest) or Quarantine(now, reason, "fleet", confirmed=True)
            for digest, reason in said.quarantine.items()
            if digest in image.trials and digest not in mine
        }
        memory = memory.with_image(key, replace(image, quarantine={**mine, **theirs}))
    return memory


def begun(memory: Memory, action: Action, now: float) -> Memory:
    """What must be remembered even if we are killed while it is done."""
    if not isinstance(action, Pull):
        return memory
    image = memory.image(action.image)
    trial = replace(image.trial(action.digest, now), pulled=True)
    return memory.with_image(action.image, image.with_trial(action.digest, trial))


def outcome(config: Config, memory: Memory, result: Outcome, now: float) -> Memory:  # noqa: PLR0911  # one per action
    """What came of an action."""
    match result.action:
        case Pull():
            memory = memory.counted("pulls_failed" if result.error else "pulls")
            return _tried(config, memory, result, now, "pulled")
        case Verify():
            return _tried(config, memory, result, now, "verified")
        case Preflight():
            return _tried(config, memory, result, now, "preflighted")
        case Start(name, digest):
            key = config.group_of()[name][0].key
            if result.error:
                return judging.start_failed(
                    memory, key, result.action, error=result.error, rules=config.failures, now=now
                )
            slot = memory.slot(name)
            begun = SlotMemory(
                result.container, digest, started=now, streak=slot.streak, code=slot.code, since=slot.since
            )
            return memory.with_slot(name, begun).counted("starts")
        case Drain(container) if not result.error:
            return replace(memory, drained=(*memory.drained, container)).counted("drains")
        case RemoveImage(key, digest) if result.error:  # somebody else's container uses it: no complaint every minute
            image = memory.image(key)
            held = replace(image.trial(digest, now), not_before=now + RETRY_LONGEST)
            return memory.with_image(key, image.with_trial(digest, held))
        case RemoveImage(key, digest):
            image = memory.image(key)
            gone = replace(image.trial(digest, now), pulled=False)
            return memory.with_image(key, image.with_trial(digest, gone)).counted("images_removed")
        case ShareQuarantine(key, digest) if not result.error:
            image = memory.image(key)
            shared = replace(image.quarantine[digest], source="shared")
            return memory.with_image(key, replace(image, quarantine={**image.quarantine, digest: shared}))
    return memory


def _tried(config: Config, memory: Memory, result: Outcome, now: float, passed: str) -> Memory:
    """A pull, signature check or pre-flight; `passed` is the trial's field for it."""
    assert isinstance(result.action, Pull | Verify | Preflight)
    key, digest = result.action.image, result.action.digest
    image = memory.image(key)
    if not result.error:
        trial = replace(image.trial(digest, now), tries=0, not_before=0.0, trouble="")
        return memory.with_image(key, image.with_trial(digest, _with(trial, passed)))
    trial = image.trial(digest, now)
    tries = trial.tries + 1
    wait = delay(tries, RETRY_INITIAL, RETRY_LONGEST, key, digest, config.host)
    failures = trial.failures + 1 if result.blames_image else trial.failures
    image = image.with_trial(
        digest, replace(trial, tries=tries, not_before=now + wait, trouble=result.error, failures=failures)
    )
    if result.blames_image and failures >= config.failures.quarantine_after and _replaceable(image, digest):
        reason = f"refused {failures} times, the last: {result.error}"
        memory, image = judging.quarantined(memory, image, digest, reason, now=now)
    return memory.with_image(key, image)


def _with(trial: Trial, passed: str) -> Trial:
    return Trial(**{**asdict(trial), passed: True})


def _replaceable(image: ImageMemory, digest: str) -> bool:
    return digest != image.pin and any(good.digest != digest for good in image.goods)
