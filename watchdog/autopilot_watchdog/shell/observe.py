"""One look at the host: engines, last words, registries, fitness."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import EngineDown, EngineView, RegistryFailure, TagDigest
from autopilot_watchdog.engine.docker_api import Engine
from autopilot_watchdog.engine.engine_http import EngineClient, EngineRefusedError, EngineUnreachableError
from autopilot_watchdog.registry import credentials
from autopilot_watchdog.registry.image_reference import get_repository, split_host_and_path
from autopilot_watchdog.registry.registry_client import RegistryClient, RegistryError
from autopilot_watchdog.shell import last_words_reader

DEFAULT_SOCKETS = {"docker": "/var/run/docker.sock", "podman": "/run/podman/podman.sock"}


def build_engines(config: Config) -> dict[str, Engine]:
    """Every engine that a slot uses."""
    sockets = {**DEFAULT_SOCKETS, **config.engines}
    names = dict.fromkeys(group.engine for group in config.slots)
    return {name: Engine(EngineClient(name, sockets[name].removeprefix("unix://")), config.state) for name in names}


def observe_engine(config: Config, engine: Engine, memory: Memory) -> EngineView | EngineDown:
    """What the engine has; unknown when it does not answer, or not sensibly."""
    folder = Path(config.state)
    try:
        containers = engine.list_containers()
        found = tuple(
            last_words_reader.attach_last_words(container, folder / "slots" / container.slot)
            for container in containers
        )
        return EngineView(found, frozenset(_list_digests_on_disk(config, engine, memory)))
    except EngineUnreachableError as error:
        return EngineDown(str(error))
    except EngineRefusedError as error:
        return EngineDown(f"cannot list what {engine.name} has: {error}")


def _list_digests_on_disk(config: Config, engine: Engine, memory: Memory) -> Iterator[str]:
    """Of the digests that play a part, those on the engine's disk."""
    for group in {group.image_key: group for group in config.slots if group.engine == engine.name}.values():
        for digest in memory.get_image(group.image_key).trials:
            if engine.has_image(get_repository(group.image), digest):
                yield digest


def build_registry_client(config: Config, reference: str) -> RegistryClient:
    """Raises RegistryTrouble."""
    try:
        found = credentials.find_credentials(split_host_and_path(reference)[0], config.registry.auth_file, os.environ)
    except credentials.CredentialsError as error:
        raise RegistryError(str(error)) from None
    return RegistryClient(reference, found, config.registry.insecure, config.registry.timeout)


def fetch_tag_digests(
    config: Config, image_keys: Iterable[str], memory: Memory, engines: Mapping[str, Engine]
) -> dict[str, TagDigest | RegistryFailure]:
    """Ask the registry of each image once."""
    found: dict[str, TagDigest | RegistryFailure] = {}
    for key in image_keys:
        group, image = config.find_group(key), memory.get_image(key)
        try:
            platform = engines[group.engine].client.platform
            found[key] = build_registry_client(config, group.image).fetch_tag_digest(
                platform, image.platforms, image.trials
            )
        except (RegistryError, EngineUnreachableError) as error:
            found[key] = RegistryFailure(str(error))
    return found
