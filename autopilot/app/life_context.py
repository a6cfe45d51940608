"""Define the values that one life is built from and that do not change while it lasts."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from autopilot import __version__
from autopilot.app.container_info import ContainerInfo
from autopilot.process.spawn import SpawnedProcess


def create_life_id() -> str:
    """Return a new unique id of a life."""
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True, slots=True)
class LifeContext:
    """Identity and places of one life.

    Attributes:
        config: The job spec; None when there is none.
        state_directory: Holds the last words and further files of this container.
        socket_path: The control socket.
        container_info: Identity of the container, as far as it is known.
        env: Environment of processes that start from now on; operators change it in place.
        containerpilot: The program was started as `containerpilot` and has that program's defaults.
        missing_config: The reason why there is no job spec; "" when there is one.
        life_id: Unique id of this life.
    """

    config: Path | None
    state_directory: Path
    socket_path: Path
    container_info: ContainerInfo
    env: dict[str, str]
    containerpilot: bool = False
    missing_config: str = ""
    life_id: str = field(default_factory=create_life_id)

    def build_metadata(self) -> dict[str, str]:
        """Return the known metadata of this life, with keys that Consul's filters accept."""
        info = self.container_info
        metadata = {
            "container-id": info.container_id,
            "host": info.host,
            "slot": info.slot,
            "image-digest": info.image_digest,
            "channel": info.channel,
            "image-reason": info.image_reason,
            "version": __version__,
            "life": self.life_id,
        }
        return {key: value for key, value in metadata.items() if value}


@dataclass(frozen=True, slots=True)
class BootHandover:
    """Open resources and first results of the boot, for the supervisor.

    Attributes:
        control_fd: Descriptor of the listening control socket.
        prestarted: Processes of jobs that run already, by job name.
        oom_kills: The kernel's count of OOM kills in our cgroup before the first job.
        early_signals: Signals that arrived before the event loop ran. The list may still grow.
        locks: Descriptors of the files that this life has locked, by path.
    """

    control_fd: int
    prestarted: dict[str, SpawnedProcess]
    oom_kills: int
    early_signals: list[int]
    locks: dict[str, int] = field(default_factory=dict)
