"""Choose the engine for a name of the configuration.

To add an engine, touch these three files and no other:

1. `engine/NAME_engine.py`: a class with every member of `engine.engine.Engine`, constructed with the name of the
   engine, the path of its socket and the owner's label (see `docker_engine.py`; `podman_engine.py` overrides only
   the places where Podman differs from Docker).
2. `engine/engine_registry.py`: one line in `ENGINE_FACTORIES`.
3. `config/config_model.py`: one line in `DEFAULT_ENGINE_SOCKETS`.

`tests/watchdog/test_engine_port.py` holds this list true: it finds the engines' names in no other production file, and
it runs a whole pass with an engine that only the two tables know.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine import Engine
from autopilot_watchdog.engine.podman_engine import PodmanEngine

EngineFactory = Callable[[str, str, str], Engine]  # name, socket, owner's label

DEFAULT_KIND = "docker"  # of a socket whose engine is not told by any name
ENGINE_FACTORIES: dict[str, EngineFactory] = {
    "docker": DockerEngine,
    "podman": PodmanEngine,
}


def create_engines(config: Config) -> dict[str, Engine]:
    """Create every engine that a slot uses, by name; nothing is connected yet."""
    return {name: create_engine(name, address, config.state) for name, address in config.list_engines().items()}


def create_engine(name: str, address: str, owner: str) -> Engine:
    """Create the engine at an address, of the kind that `find_engine_kind` finds.

    Args:
        name: The engine's name in the configuration.
        address: The path of its socket, with "unix://" or "KIND:" before it or not.
        owner: The label value that marks the containers of this watchdog.
    """
    kind, path = find_engine_kind(name.partition("@")[0], address)  # a former engine is named NAME@SOCKET
    return ENGINE_FACTORIES[kind](name, path, owner)


def find_engine_kind(name: str, address: str) -> tuple[str, str]:
    """Return the kind of an engine and the path of its socket.

    The address may name the kind ("podman:/run/x.sock"). Else the engine's name or the name of the real socket file
    does: /var/run/docker.sock may be a link to Podman's socket. Else the kind is the default one.
    """
    before, _, after = address.partition(":")
    if before in ENGINE_FACTORIES:
        return before, after.removeprefix("//")
    path = address.removeprefix("unix://")
    file_name = os.path.basename(os.path.realpath(path))
    for kind in ENGINE_FACTORIES:
        if kind != DEFAULT_KIND and (kind == name or kind in file_name):
            return kind, path
    return DEFAULT_KIND, path
