"""What the lives of this host say about its slots, its images and itself: back-off, promotion, quarantine, acquittal.

A new digest is judged against the good one on the same host. When it fails `quarantine_after` times in a row it is
quarantined and the good digest takes over at once. If that one then lives well, the new image was to blame (the
quarantine is confirmed, and told to the fleet); if that one fails too, the host or something outside is to blame, the
new digest is acquitted, and the host backs off. With no good digest to compare with there is only the back-off.
"""

from __future__ import annotations

from dataclasses import replace

from autopilot_watchdog.config.model import Failures
from autopilot_watchdog.core.actions import Start
from autopilot_watchdog.core.lives import FAILED, GOOD, End
from autopilot_watchdog.core.memory import Good, ImageMemory, Memory, Quarantine
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.waiting import delay


def ended(memory: Memory, container: Container, end: End, rules: Failures, now: float) -> Memory:
    """A life is over."""
    slot = memory.slot(container.slot)
    lived = container.ended - container.started if container.started else 0.0
    short = end.verdict != GOOD and lived < rules.good_after
    streak = slot.streak + 1 if short or end.verdict == FAILED else 0
    # the first short life that is nobody's fault is followed at once: a kill, an operator's stop
    weighs = streak if end.verdict == FAILED else streak - 1
    not_before = now + delay(weighs, rules.initial, rules.longest, container.slot) if weighs > 0 else 0.0
    memory = memory.with_slot(
        container.slot,
        replace(
            slot,
            container=container.id,
            digest=container.digest,
            started=container.started,
            ended=container.ended or now,
            streak=streak,
            not_before=not_before,
        ),
    ).counted(f"lives_{end.verdict}")
    if end.verdict == GOOD:
        return proved(memory, container, now)
    if end.verdict == FAILED:
        return _failed(memory, container.key, container.digest, why=end.sentence, rules=rules, now=now)
    return memory


def start_failed(memory: Memory, key: str, start: Start, *, error: str, rules: Failures, now: float) -> Memory:
    """The engine could not start a container: a life of no length."""
    slot = memory.slot(start.slot)
    streak = slot.streak + 1
    wait = delay(streak, rules.initial, rules.longest, start.slot)
    slot = replace(slot, digest=start.digest, streak=streak, not_before=now + wait)
    memory = memory.with_slot(start.slot, slot).counted("starts_failed")
    return _failed(memory, key, start.digest, why=error, rules=rules, now=now)


def proved(memory: Memory, container: Container, now: float) -> Memory:
    """A life has proved its digest good; counted once per life."""
    slot = memory.slot(container.slot)
    if slot.proved and slot.container == container.id:
        return memory
    key, digest = container.key, container.digest
    image = memory.image(key)
    goods = {good.digest: good for good in image.goods}
    latest = max(container.started, goods[digest].life_started if digest in goods else 0.0)
    if digest not in image.quarantine or image.pin == digest:
        goods[digest] = Good(digest, latest)
    quarantine = {  # whatever else fails here, a good image lives well: the others are to blame themselves
        other: replace(held, confirmed=held.confirmed or (other != digest and container.started >= held.since))
        for other, held in image.quarantine.items()
    }
    image = replace(
        image.with_trial(digest, replace(image.trial(digest, now), failures=0, pulled=True)),
        goods=tuple(sorted(goods.values(), key=lambda good: -good.life_started)[:3]),
        quarantine=quarantine,
    )
    slot = replace(slot, container=container.id, digest=digest, started=container.started, proved=True, streak=0)
    return replace(memory.with_image(key, image).with_slot(container.slot, slot), streak=0, not_before=0.0)


def _failed(memory: Memory, key: str, digest: str, *, why: str, rules: Failures, now: float) -> Memory:
    image = memory.image(key)
    if digest in image.quarantine and digest != image.pin:
        return _forgiven(memory, digest)  # it was started before that was known
    trial = image.trial(digest, now)
    trial = replace(trial, failures=trial.failures + 1, trouble=why)
    image = image.with_trial(digest, trial)
    streak = memory.streak + 1
    not_before = memory.not_before
    if trial.failures >= rules.quarantine_after and digest != image.pin and _others(image, digest):
        memory, image = quarantined(memory, image, digest, f"{trial.failures} lives failed, the last: {why}", now=now)
        not_before = 0.0
    else:
        image = _acquitted(image, digest, rules, now)
        if streak >= rules.host_after:
            wait = delay(streak - rules.host_after + 1, rules.host_initial, rules.host_longest, "host")
            not_before = now + wait
    return replace(memory.with_image(key, image), streak=streak, not_before=not_before)


def quarantined(
    memory: Memory, image: ImageMemory, digest: str, reason: str, *, now: float, source: str = "host"
) -> tuple[Memory, ImageMemory]:
    """The digest is started no more; its slots need not wait, for the good digest takes over."""
    held = Quarantine(now, reason, source, confirmed=source != "host")
    goods = tuple(good for good in image.goods if good.digest != digest)
    image = replace(image, quarantine={**image.quarantine, digest: held}, goods=goods)
    return _forgiven(memory.counted("quarantines"), digest), image


def _forgiven(memory: Memory, digest: str) -> Memory:
    """Its slots need not wait. Their streaks stay: should the good one fail too, the waits go on rising."""
    slots = {
        name: replace(slot, not_before=0.0) if slot.digest == digest else slot for name, slot in memory.slots.items()
    }
    return replace(memory, slots=slots)


def released(image: ImageMemory, digest: str, now: float) -> ImageMemory:
    """The digest may be started again, with its failures forgotten."""
    kept = {other: held for other, held in image.quarantine.items() if other != digest}
    trial = replace(image.trial(digest, now), failures=0, tries=0, not_before=0.0, trouble="")
    return replace(image.with_trial(digest, trial), quarantine=kept)


def _others(image: ImageMemory, digest: str) -> bool:
    return any(good.digest != digest and good.digest not in image.quarantine for good in image.goods)


def _acquitted(image: ImageMemory, failing: str, rules: Failures, now: float) -> ImageMemory:
    """The good digest fails as well: what was quarantined for that, lately, was not to blame."""
    if all(good.digest != failing for good in image.goods):
        return image
    for digest, held in list(image.quarantine.items()):
        if held.source == "host" and not held.confirmed and now - held.since <= rules.acquit_within:
            image = released(image, digest, now)
    return image
