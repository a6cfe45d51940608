"""One look at the host: engines, last words, registries, fitness."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from autopilot_watchdog.config.model import Config
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineDown, EngineView, Head, HeadTrouble
from autopilot_watchdog.engine.client import Client, EngineRefused, EngineUnreachable
from autopilot_watchdog.engine.engine import Engine
from autopilot_watchdog.registry import credentials
from autopilot_watchdog.registry.client import Registry, RegistryTrouble
from autopilot_watchdog.registry.reference import host_and_path, repository
from autopilot_watchdog.shell import words

SOCKETS = {"docker": "/var/run/docker.sock", "podman": "/run/podman/podman.sock"}


def engines(config: Config) -> dict[str, Engine]:
    """Every engine that a slot uses."""
    sockets = {**SOCKETS, **config.engines}
    names = dict.fromkeys(group.engine for group in config.slots)
    return {name: Engine(Client(name, sockets[name].removeprefix("unix://")), config.state) for name in names}


def view(config: Config, engine: Engine, memory: Memory) -> EngineView | EngineDown:
    """What the engine has; unknown when it does not answer, or not sensibly."""
    folder = Path(config.state)
    try:
        containers = engine.containers()
        found = tuple(words.heard(container, folder / "slots" / container.slot) for container in containers)
        return EngineView(found, frozenset(_digests(config, engine, memory)))
    except EngineUnreachable as error:
        return EngineDown(str(error))
    except EngineRefused as error:
        return EngineDown(f"cannot list what {engine.name} has: {error}")


def _digests(config: Config, engine: Engine, memory: Memory) -> Iterator[str]:
    """Of the digests that play a part, those on the engine's disk."""
    for group in {group.key: group for group in config.slots if group.engine == engine.name}.values():
        for digest in memory.image(group.key).trials:
            if engine.has(repository(group.image), digest):
                yield digest


def registry(config: Config, reference: str) -> Registry:
    """Raises RegistryTrouble."""
    try:
        found = credentials.find(host_and_path(reference)[0], config.registry.auth_file, os.environ)
    except credentials.CredentialsError as error:
        raise RegistryTrouble(str(error)) from None
    return Registry(reference, found, config.registry.insecure, config.registry.timeout)


def heads(
    config: Config, keys: Iterable[str], memory: Memory, engines: Mapping[str, Engine]
) -> dict[str, Head | HeadTrouble]:
    """Ask the registry of each image once."""
    found: dict[str, Head | HeadTrouble] = {}
    for key in keys:
        group, image = config.group_for(key), memory.image(key)
        try:
            platform = engines[group.engine].client.platform
            found[key] = registry(config, group.image).head(platform, image.platforms, image.trials)
        except (RegistryTrouble, EngineUnreachable) as error:
            found[key] = HeadTrouble(str(error))
    return found
