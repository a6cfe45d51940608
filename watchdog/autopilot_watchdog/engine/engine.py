"""Define the port between the watchdog and a container engine, and the errors that every engine raises.

The watchdog's shell and the simulation know engines by this protocol only. Checks that run on the host (`verify`) are
no part of it: they need no engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from autopilot_watchdog.bounded_json import clip_text
from autopilot_watchdog.config.slot_config import SlotGroup
from autopilot_watchdog.core.memory import Memory, split_image_key
from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.core.state_ownership import ForeignContainer
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.registry.image_reference import get_repository

SLOW_CALL_TIMEOUT_S = 120.0  # for calls that an engine may take its time over: a start, a removal
TIMED_OUT_STATUS = 124  # exit status of a command that was given up after its time limit, as timeout(1) has it


class EngineError(WatchdogError):
    """Base of the errors of container engines."""


class EngineUnreachableError(EngineError):
    """The engine did not answer, so its state is unknown."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        self.timed_out = timed_out
        super().__init__(clip_text(message))


class EngineNonsenseError(EngineUnreachableError):
    """The engine answered something that cannot be understood, so as much as nothing."""


class EngineRefusedError(EngineError):
    """The engine answered with an error; `status` is its HTTP status, 0 if it has none."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(clip_text(message))


class PullError(EngineError):
    """The engine could not fetch the digest, or fetched another one."""


class Engine(Protocol):
    """Container engine of this host. Every call may raise EngineUnreachableError or EngineRefusedError."""

    @property
    def name(self) -> str:
        """Name of the engine in the configuration."""
        ...

    @property
    def storage_folder(self) -> str:
        """Folder of the engine's images and containers on this host; "" if the engine does not tell."""
        ...

    def get_platform(self) -> tuple[str, str]:
        """Return operating system and architecture in the registries' words, such as linux, amd64."""
        ...

    def list_containers(self) -> list[Container]:
        """Return every container of this watchdog, dead or alive, without last words."""
        ...

    def list_foreign_containers(self) -> list[ForeignContainer]:
        """Return the living containers that other owners' watchdogs started with a configuration file."""
        ...

    def start_container(
        self, group: SlotGroup, number: int, digest: str, *, host: str, state_folder: str | None
    ) -> str:
        """Create and start a container for a slot, under a name that no container had before.

        Args:
            group: The slot's group.
            number: The slot's number in its group, from 1.
            digest: The image's digest; the image is on the engine's disk.
            host: The host's name.
            state_folder: The slot's folder on the host; None to mount none.

        Returns:
            The engine's id of the container.
        """
        ...

    def remove_container(self, container: str) -> None:
        """Remove a dead container with its unnamed volumes; a missing one is fine, a running one is refused."""
        ...

    def find_container_root(self) -> int:
        """Return the user on this host that root inside of a container is; 0 unless the engine is rootless."""
        ...

    def stop_container(self, container: str, timeout: float) -> None:
        """Ask a container to end in order; the engine kills it after the stop timeout it was created with.

        Args:
            container: The engine's id of the container.
            timeout: Seconds until the answer is given up; the engine goes on.
        """
        ...

    def read_logs(self, container: str, lines: int = 20) -> str:
        """Return the last lines that the container printed."""
        ...

    def follow_logs(self, container: str, lines: int) -> Iterator[str]:
        """Yield the last lines that the container printed, and each further one until the container ends."""
        ...

    def execute_command(self, container: str, command: tuple[str, ...], timeout: float = 30) -> tuple[int, str]:
        """Run a command inside a running container.

        Args:
            container: The engine's id of the container.
            command: The program and its arguments.
            timeout: Seconds until the command is given up.

        Returns:
            The exit status (TIMED_OUT_STATUS after the timeout) and the output.
        """
        ...

    def watch_container_ends(self) -> Iterator[str]:
        """Yield the slot of each container that ends or is removed, at once; first yield "" when the stream is open."""
        ...

    def has_image(self, repository: str, digest: str) -> bool:
        """Return True if the image is on the engine's disk."""
        ...

    def pull_image(self, repository: str, digest: str, *, auth: dict[str, str] | None, timeout: float) -> None:
        """Fetch exactly this digest and check that the engine has it.

        Args:
            repository: The image's name without tag or digest.
            digest: The digest to fetch.
            auth: Credentials as Docker's X-Registry-Auth has them; None for none.
            timeout: Seconds until the pull has failed.

        Raises:
            PullError: The pull failed, or the engine has another digest.
        """
        ...

    def remove_image(self, repository: str, digest: str) -> None:
        """Remove the image's names that this watchdog gave it; never force, a missing one is fine."""
        ...

    def run_preflight(self, group: SlotGroup, digest: str, command: tuple[str, ...], timeout: float) -> tuple[int, str]:
        """Run a command in a throwaway container of the image.

        Returns:
            The exit status (TIMED_OUT_STATUS after `timeout` seconds) and the last lines of the output.
        """
        ...

    def remove_preflight_containers(self) -> None:
        """Remove throwaway containers that a killed watchdog left behind."""
        ...


def list_images_on_disk(engine: Engine, memory: Memory) -> Iterator[tuple[str, str]]:
    """Yield the remembered digests that are on the engine's disk, each with the image's key."""
    for key, image in memory.images.items():
        name, reference = split_image_key(key)
        for digest in image.records if name == engine.name else ():
            try:
                if engine.has_image(get_repository(reference), digest):
                    yield key, digest
            except EngineRefusedError:
                continue  # nothing is known about this one: the others can be used
