"""One decision: `(config, observation, memory, now) -> (memory, actions, reasons)`, and when to look again.

Theory of operation. A pass is rounds of look, decide, act, until there is nothing left to do. A decision asks for what
can be done now; what depends on its outcome (a start after a pull) is asked for in the next round. A slot whose
container is alive is never touched. A slot whose engine does not answer is unknown. Only a slot that is missing is
filled: with the best digest that is prepared, unless a better one can be prepared first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from autopilot_watchdog.config.model import Config
from autopilot_watchdog.core import clock, filling, images, judging, learning, urgency
from autopilot_watchdog.core.actions import Action, Bury, ShareQuarantine, Start
from autopilot_watchdog.core.lives import judge, proved_good
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import Container, EngineDown, EngineView, Observation
from autopilot_watchdog.core.reasons import Reason
from autopilot_watchdog.core.rollout import admitted_at
from autopilot_watchdog.core.scene import Scene, scene

LONGEST_STEP = 3600.0  # s; a longer time between passes is not counted as lost: the host was down or its clock jumped
OCCUPIED = ("", "running", "draining", "stopping", "paused-container")  # codes of a slot that has a container


@dataclass(frozen=True, slots=True)
class Decision:
    memory: Memory
    actions: tuple[Action, ...]
    reasons: dict[str, Reason]  # by slot
    wake: float | None  # when something will be due without any event, but for the registry; None: nothing
    ask: float | None  # when a registry's answer will be too old


def heads_wanted(config: Config, observation: Observation, memory: Memory, now: float) -> list[str]:
    """The images whose registry is asked this time: at most once per pass, and not while the last answer is fresh."""
    wanted: list[str] = []
    memory = clock.followed(memory, observation, now)
    here = scene(config, observation, now)
    for group in config.slots:
        image = memory.image(group.key)
        if group.key in wanted or group.engine not in here.views or memory.paused:
            continue
        missing = now >= memory.not_before and any(
            name not in here.living and memory.slot(name).not_before <= now for name in group.slot_names(config.host)
        )
        patience = config.registry.fresh if missing else config.registry.check_every
        if not image.asked_at <= now < image.asked_at + patience:
            wanted.append(group.key)
    return wanted


def decide(config: Config, observation: Observation, memory: Memory, now: float) -> Decision:
    here = scene(config, observation, now)
    memory = clock.followed(memory, observation, now)
    memory = learning.fleet(learning.heads(memory, observation.heads, now), observation.fleet, now)
    memory, actions = _lives(here, memory)
    actions += _shares(config, memory)
    reasons: dict[str, Reason] = {}
    steps = images.ahead(here, memory)  # one preparing step per image and round
    for name, group in here.groups.items():
        view = observation.engines[group.engine]
        if isinstance(view, EngineDown):
            reasons[name] = Reason("engine-unknown", view.sentence)
        elif name in here.living:
            reasons[name] = _alive(here.living[name])
        else:
            reasons[name], step = filling.missing(here, memory, name)
            if isinstance(step, Start):
                actions.append(step)
            elif step is not None:
                steps[group.key] = step
    for name in here.living.keys() - here.groups.keys():
        said = f"{here.living[name].name} runs; the configuration has no such slot any more"
        reasons[name] = Reason("surplus", said)
    actions += steps.values()
    drains = list(urgency.drains(here, memory))
    actions += [drain for turn, drain in drains if turn <= now]
    if not actions:
        actions += images.garbage(here, memory)
    memory = _noted(here, memory, reasons)
    return Decision(
        memory,
        tuple(actions),
        reasons,
        _wake(config, memory, reasons, [turn for turn, _ in drains], now),
        _ask(config, memory, now),
    )


def _lives(here: Scene, memory: Memory) -> tuple[Memory, list[Action]]:
    """Count every end once, bury the dead, and note who has proved good."""
    actions: list[Action] = []
    rules = here.config.failures
    present = {container.id for container in here.containers}
    if memory.judged or memory.drained:
        memory = replace(
            memory,
            judged=tuple(id for id in memory.judged if id in present),
            drained=tuple(id for id in memory.drained if id in present),
        )
    for seen in here.containers:
        container = clock.dated(seen, memory.slot(seen.slot), here.now)
        if container.alive:
            if proved_good(container, rules.good_after, here.now):
                memory = judging.proved(memory, container, here.now)
            continue
        end = judge(container, rules.good_after, here.observation.booted)
        if container.id not in memory.judged:
            memory = replace(memory, judged=(*memory.judged, container.id))
            if container.slot in here.groups and container.state != "created":
                memory = judging.ended(memory, container, end, rules, here.now)
        actions.append(Bury(container.id, container.slot, container.engine, end.code, end.sentence, end.verdict))
    return memory, actions


def _shares(config: Config, memory: Memory) -> Iterator[Action]:
    if config.consul is None:
        return
    for key, image in memory.images.items():
        for digest, held in image.quarantine.items():
            if held.source == "host" and held.confirmed:
                yield ShareQuarantine(key, digest, held.reason)


def _alive(container: Container) -> Reason:
    said = f"{container.name} runs {container.digest[:19]}"
    if container.state == "paused":
        return Reason("paused-container", f"{said}; somebody froze it")
    if container.state != "running":
        return Reason("stopping", f"{container.name} is {container.state}")
    if container.words is not None and container.words.draining:
        return Reason("draining", f"{said} and takes no new work")
    return Reason("running", said)


def _noted(here: Scene, memory: Memory, reasons: dict[str, Reason]) -> Memory:
    """Each slot's reason, and the slot-seconds lost since the last decision under the reason it gave."""
    lost, slots, now = dict(memory.lost), dict(memory.slots), here.now
    for name in here.groups:
        slot, reason = memory.slot(name), reasons[name]
        if name not in here.living and reason.code != "engine-unknown":
            begin = max(memory.last_pass, slot.ended)
            cause = "renewal" if slot.code in OCCUPIED else slot.code
            if memory.last_pass and 0 <= now - begin < LONGEST_STEP:
                lost[cause] = lost.get(cause, 0.0) + now - begin
        if (slot.code, slot.sentence) != (reason.code, reason.sentence):
            since = slot.since if slot.code == reason.code else now
            slots[name] = replace(slot, code=reason.code, sentence=reason.sentence, since=since)
    if slots.keys() - here.groups.keys():
        slots = {name: slot for name, slot in slots.items() if name in here.groups}
    healthy = all(isinstance(view, EngineView) for view in here.observation.engines.values())
    success = now if healthy and not any(image.trouble for image in memory.images.values()) else memory.last_success
    return replace(memory, slots=slots, lost=lost, last_pass=now, last_success=success)


def _wake(config: Config, memory: Memory, reasons: dict[str, Reason], turns: list[float], now: float) -> float | None:
    """The next time at which a decision would differ though nothing happens. `turns`: when drains are due."""
    times = list(turns)
    times += [memory.slot(name).not_before for name, reason in reasons.items() if reason.code == "backoff"]
    times += [memory.not_before] if any(reason.code == "host-backoff" for reason in reasons.values()) else []
    for group in config.slots:
        image = memory.image(group.key)
        times += [trial.not_before for trial in image.trials.values()]
        if image.head and image.head not in image.quarantine:
            times.append(admitted_at(memory, group.key, image.head, config, now))
    return min((time for time in times if time > now), default=None)


def _ask(config: Config, memory: Memory, now: float) -> float | None:
    times = (memory.image(group.key).asked_at + config.registry.check_every for group in config.slots)
    return min((time for time in times if time > now), default=None)
