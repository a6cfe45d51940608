"""Drive Podman through its Docker-compatible API: override the places where its answers differ from Docker's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from autopilot_watchdog.engine.docker_engine import DockerEngine
from autopilot_watchdog.engine.engine import EngineRefusedError


class PodmanEngine(DockerEngine):
    """Podman of this host, for the containers with one owner's label."""

    STATES: ClassVar[Mapping[str, str]] = {"stopped": "exited", "configured": "created", "initialized": "created"}
    END_ACTIONS: ClassVar[frozenset[str]] = frozenset(
        {"die", "died", "destroy", "remove"}
    )  # Docker's and Podman's words
    KILL_ACTIONS: ClassVar[frozenset[str]] = frozenset({"kill", "stop"})  # Podman tells no signals
    CHANGE_ACTIONS: ClassVar[frozenset[str]] = frozenset()  # its filter of events has other words than its answers

    def _is_name_taken(self, error: EngineRefusedError) -> bool:
        """Return True if a container has the name already; Podman answers 500."""
        return super()._is_name_taken(error) or (error.status == 500 and "already in use" in str(error))

    def _is_container_missing(self, error: EngineRefusedError) -> bool:
        """Return True if there is no such container; Podman may answer another status than 404."""
        return super()._is_container_missing(error) or "no such container" in str(error).lower()
