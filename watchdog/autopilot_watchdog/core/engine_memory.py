"""Remember every engine that has containers of this watchdog, so that a change of the configuration loses none.

Theory of operation. An engine is remembered with its socket when the configuration uses it. When the configuration uses
it no more, it is looked at until it has nothing of ours. If an engine does not answer, its containers are those of its
last answer, and their slots are not filled on another engine. A container does not outlive a reboot, so a former engine
that has not answered since the host's last start holds no slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.slot_claims import compute_claims
from autopilot_watchdog.core.decision_context import DecisionContext
from autopilot_watchdog.core.memory import EngineMemory, Memory, Occupant, split_image_key
from autopilot_watchdog.core.observation import Container, EngineDown, EngineView, Observation
from autopilot_watchdog.core.slot_actions import Start
from autopilot_watchdog.errors import WatchdogError


class EngineOrderError(WatchdogError):
    """The order about an engine cannot be carried out; the message has the remedy."""


def list_former_engines(config: Config, memory: Memory) -> dict[str, str]:
    """Return the sockets of the engines that are only in the memory, by name.

    An engine whose name now belongs to another socket is named NAME@SOCKET.
    """
    used = config.list_engines()
    former: dict[str, str] = {}
    for name, entry in memory.engines.items():
        if name not in used:
            former[name] = entry.address
        elif entry.address != used[name]:
            former[f"{name}@{entry.address}"] = entry.address
    if not memory.engines:  # of an older watchdog, which remembered images only
        for key in memory.images:
            name, _ = split_image_key(key)
            if name not in used and (address := config.find_engine_address(name)):
                former[name] = address
    return former


def remember_engines(context: DecisionContext, memory: Memory) -> Memory:
    """Return the memory with the engines of this observation, and without former ones that have nothing of ours."""
    config, boot = context.config, context.observation.boot
    used, former = config.list_engines(), list_former_engines(config, memory)
    seen = {container.id for container in context.containers}
    engines: dict[str, EngineMemory] = {}
    for name, address in (used | former).items():
        view = context.observation.engines.get(name)
        if isinstance(view, EngineView):
            ours = [container for container in context.containers if container.engine == name]
            alive = {container.id: describe_occupant(container) for container in ours if container.alive}
            entry = EngineMemory(address, alive, boot)
            if name in used or ours or _has_pulled_images(memory, name):
                engines[name] = entry
            continue
        before = memory.engines.get(name) or memory.engines.get(name.removesuffix(f"@{address}"))
        entry = before if before and before.address == address else EngineMemory(address)
        if not memory.engines:
            entry = replace(entry, alive=_list_remembered_lives(memory), boot=memory.boot)
        entry = replace(entry, alive={id: found for id, found in entry.alive.items() if id not in seen})
        rebooted = bool(boot and entry.boot) and boot != entry.boot
        if name in used or view is None or (entry.alive and not rebooted):
            engines[name] = entry
    return memory if engines == memory.engines else replace(memory, engines=engines)


def _list_remembered_lives(memory: Memory) -> dict[str, Occupant]:
    """Return the lives that have not ended as far as an older watchdog knew, which remembered no engines."""
    return {
        slot.container: Occupant(name, f"a container of {name}")
        for name, slot in memory.slots.items()
        if slot.container and not slot.ended
    }


def _has_pulled_images(memory: Memory, name: str) -> bool:
    return any(
        split_image_key(key)[0] == name and any(record.pulled for record in image.records.values())
        for key, image in memory.images.items()
    )


def remember_starts(context: DecisionContext, memory: Memory, starts: Sequence[Start]) -> Memory:
    """Return the memory in which the slots of these starts are occupied, in case the watchdog is killed after one."""
    if not starts:
        return memory
    engines = dict(memory.engines)
    slots = context.config.map_slots_to_groups()
    for start in starts:
        group, number = slots[start.slot]
        claims = compute_claims(group, context.config.host, number)
        occupant = Occupant(start.slot, f"a container of {start.slot}", claims.own, round(1000 * claims.cpus))
        entry = engines[group.engine]
        engines[group.engine] = replace(entry, alive={**entry.alive, f"start of {start.slot}": occupant})
    return replace(memory, engines=engines)


def find_held_slots(context: DecisionContext, memory: Memory) -> dict[str, str]:
    """Return a sentence for each slot that may have a container on an engine that does not answer, by slot."""
    held: dict[str, str] = {}
    used = context.config.list_engines()
    for name, view in context.observation.engines.items():
        if isinstance(view, EngineDown) and name in memory.engines:
            remedy = (
                "" if name in used else f"; if that engine is gone for ever: autopilot-watchdog forget-engine {name}"
            )
            for unseen in memory.engines[name].alive.values():
                known = f"{unseen.slot} had a container on {name} when that engine answered last"
                held[unseen.slot] = f"{known}: {view.sentence}{remedy}"
    return held


def forget_engine(config: Config, memory: Memory, name: str) -> tuple[Memory, str]:
    """Forget a former engine that is gone for ever, with the containers that it had; its slots may be filled again.

    The caller has made sure that the engine does not answer.

    Args:
        config: The configuration.
        memory: The memory before.
        name: The engine's name, or NAME@SOCKET if the configuration gives its name to another socket.

    Raises:
        EngineOrderError: The engine is unknown, or the configuration uses it.
    """
    former, used = list_former_engines(config, memory), config.list_engines()
    if name not in former:
        if name in used:
            remedy = "take it out of `slots` first"
            raise EngineOrderError(f"the configuration uses the engine {name} at {used[name]}: {remedy}")
        raise EngineOrderError(f"there is no former engine {name}; there are {', '.join(former) or 'none'}")
    key = name if name in memory.engines and name not in used else name.removesuffix(f"@{former[name]}")
    forgotten = memory.engines.get(key, EngineMemory())
    engines = {known: EngineMemory(address) for known, address in used.items()} | dict(memory.engines)
    if key in used:  # the name belongs to another socket now
        engines[key] = EngineMemory(used[key])
    else:
        engines.pop(key, None)
    slots = sorted({unseen.slot for unseen in forgotten.alive.values()})
    effect = f"; the next pass may fill {', '.join(slots)}" if slots else ""
    containers = ", ".join(sorted(unseen.name for unseen in forgotten.alive.values())) or "no container"
    gone = f"the engine {name} at {former[name]} is forgotten, with {containers}"
    return replace(memory, engines=engines), f"{gone}{effect}"


def describe_occupant(container: Container) -> Occupant:
    """Return what is remembered of a living container."""
    return Occupant(container.slot, container.name, container.claims.own, round(1000 * container.claims.cpus))


def list_unseen_occupants(context: DecisionContext, memory: Memory) -> list[Occupant]:
    """Return the containers that may live on engines that do not answer."""
    silent = [name for name, view in context.observation.engines.items() if isinstance(view, EngineDown)]
    return [unseen for name in silent if name in memory.engines for unseen in memory.engines[name].alive.values()]


def list_silent_engines(config: Config, memory: Memory, observation: Observation) -> list[str]:
    """Return the engines' sentences about not answering; without the former ones that hold no slot."""
    return [
        view.sentence
        for name, view in observation.engines.items()
        if isinstance(view, EngineDown) and (name in config.list_engines() or name in memory.engines)
    ]
