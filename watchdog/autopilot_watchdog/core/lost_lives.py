"""Find the lives whose containers are gone though this watchdog has not removed them, such as after `docker rm -f`.

Nothing is known about the end of such a life, so it counts neither for its image nor against it. A life is lost only if
its engine answers and has the container no more, dead or alive. An engine that does not answer, or another one behind
the same name, says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.memory import EngineMemory, Memory, SlotMemory, split_image_key
from autopilot_watchdog.core.observation import EngineView, Observation

LOST_CODE, UNKNOWN_VERDICT = "removed-by-hand", "unknown"


@dataclass(frozen=True, slots=True)
class LostLife:
    """Life of a container that somebody removed. Times are epoch seconds, 0 is never."""

    container: str  # the engine's id
    name: str
    slot: str
    engine: str
    image: str  # reference; "" if it is not known
    digest: str
    started: float
    ended: float  # when it was missed

    @property
    def sentence(self) -> str:
        """Sentence about the end."""
        return f"{self.name} is gone: it was removed, and not by the watchdog, so its end is not known"


@dataclass(frozen=True, slots=True)
class Sighting:
    """Last thing that was known of a container."""

    engine: str
    slot: str
    name: str


def find_lost_lives(config: Config, observation: Observation, memory: Memory, now: float) -> list[LostLife]:
    """Return the lives that were lost since the last look.

    Args:
        config: The configuration.
        observation: The present look at the host.
        memory: The memory of the look before.
        now: Epoch seconds.
    """
    answering = {name: view for name, view in observation.engines.items() if isinstance(view, EngineView)}
    present = {container.id for view in answering.values() for container in view.containers}
    seen: dict[str, Sighting] = {}  # by container
    for engine, entry in memory.engines.items():
        if engine in answering and _is_same_engine(config, engine, entry):
            occupants = {id: one for id, one in entry.alive.items() if " " not in id}  # others are starts under way
            seen |= {id: Sighting(engine, one.slot, one.name) for id, one in occupants.items()}
    if not memory.engines:  # of an older watchdog, which does not tell the engine of a life
        return []
    for slot, (group, _) in config.map_slots_to_groups().items():
        found = memory.get_slot(slot)
        if found.container and not found.ended and group.engine in answering and not _is_held(memory, found.container):
            seen.setdefault(found.container, Sighting(group.engine, slot, found.container[:12]))
    known = present | set(memory.judged)  # an end that is judged is no lost one: its removal only took long
    return [_build_lost_life(memory, id, sighting, now) for id, sighting in seen.items() if id not in known]


def _is_same_engine(config: Config, name: str, entry: EngineMemory) -> bool:
    """Return True unless the configuration gives the engine's name to another socket now."""
    return config.list_engines().get(name, entry.address) == entry.address


def _is_held(memory: Memory, container: str) -> bool:
    """Return True if some engine is known to have had the container, so that only this one can tell."""
    return any(container in entry.alive for entry in memory.engines.values())


def _build_lost_life(memory: Memory, id: str, sighting: Sighting, now: float) -> LostLife:
    found = memory.get_slot(sighting.slot)
    if found.container != id:
        found = SlotMemory()
    return LostLife(
        container=id,
        name=sighting.name,
        slot=sighting.slot,
        engine=sighting.engine,
        image=_find_reference(memory, sighting.engine, found.digest),
        digest=found.digest,
        started=found.started,
        ended=now,
    )


def _find_reference(memory: Memory, engine: str, digest: str) -> str:
    """Return the reference of the engine's image that has a digest; "" if none has."""
    keys: Iterator[str] = (key for key, image in memory.images.items() if digest in image.records)
    pairs = (split_image_key(key) for key in keys)
    return next((reference for name, reference in pairs if name == engine), "")


def record_lost_lives(memory: Memory, lives: list[LostLife]) -> Memory:
    """Return the memory in which these lives have ended."""
    for life in lives:
        slot = memory.get_slot(life.slot)
        if slot.container == life.container and not slot.ended:
            memory = memory.replace_slot(life.slot, replace(slot, ended=life.ended))
        memory = memory.increase_count("lives_lost")
    return memory
