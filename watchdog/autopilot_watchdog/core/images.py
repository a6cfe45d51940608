"""What is to be done about images: prepare the newest beside the running ones, and remove what nobody needs."""

from __future__ import annotations

from collections.abc import Iterator

from autopilot_watchdog.config.model import SlotGroup
from autopilot_watchdog.core.actions import Action, Preflight, Pull, RemoveImage, Verify
from autopilot_watchdog.core.memory import ImageMemory, Memory
from autopilot_watchdog.core.observation import EngineView
from autopilot_watchdog.core.rollout import choices
from autopilot_watchdog.core.scene import Scene


def preparing(group: SlotGroup, view: EngineView, image: ImageMemory, digest: str) -> Action | None:
    """The next step towards a digest that can be started; None when it can."""
    trial = image.trial(digest, 0.0)
    if digest not in view.digests:
        return Pull(group.key, digest)
    if group.verify is not None and not trial.verified:
        return Verify(group.key, digest)
    if group.preflight is not None and not trial.preflighted:
        return Preflight(group.key, digest)
    return None


def ahead(here: Scene, memory: Memory) -> dict[str, Action]:
    """Prepare the newest digest beside the running ones, once it is this host's turn: by image."""
    steps: dict[str, Action] = {}
    if here.observation.unfit or memory.paused:
        return steps
    for group in here.config.slots:
        image = memory.image(group.key)
        best = next(iter(choices(memory, group.key, here.config, here.now)), None)
        if best is None or group.engine not in here.views or here.now < image.trial(best.digest, 0.0).not_before:
            continue
        step = preparing(group, here.views[group.engine], image, best.digest)
        if step is not None:
            steps.setdefault(group.key, step)
    return steps


def garbage(here: Scene, memory: Memory) -> Iterator[Action]:
    """Images that we pulled and nobody needs: not running, newest, pinned, last good or the one before."""
    for key, group in {group.key: group for group in here.config.slots}.items():
        if group.engine not in here.views:
            continue
        image, view = memory.image(key), here.views[group.engine]
        kept = {image.head, image.pin, *(good.digest for good in image.goods[:2])}
        kept |= {container.digest for container in view.containers}
        # none may have proved good yet: the newest two are kept in any case
        kept |= set(sorted(image.trials, key=lambda digest: -image.trials[digest].first_seen)[:2])
        for digest, trial in image.trials.items():
            if (
                trial.pulled and digest not in kept and here.now >= trial.not_before
            ):  # on disk or, after a pull that failed, not
                yield RemoveImage(key, digest)
