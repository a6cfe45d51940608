"""Ask registries beside the passes, so that a registry that hangs holds up no slot.

A pass waits a moment for the answers (`registry.patience`), since a registry that is well gives them at once. It does
not wait for a registry that failed last time, or that was asked in an earlier pass and is silent still.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.core.memory import Memory, split_image_key
from autopilot_watchdog.core.observation import RegistryFailure, TagDigest
from autopilot_watchdog.engine.engine import Engine
from autopilot_watchdog.registry.image_reference import split_host_and_path
from autopilot_watchdog.shell import observe
from autopilot_watchdog.shell.work_pool import WorkPool


class RegistryQuestions:
    """Questions to registries that are under way, at most one for each image."""

    def __init__(self, engines: Mapping[str, Engine], wake: Callable[[], None]) -> None:
        self._engines = engines
        self._pool: WorkPool[str, TagDigest | RegistryFailure | None] = WorkPool("question", wake)

    @property
    def pending_keys(self) -> frozenset[str]:
        """Keys of the images whose answer has not come, or was not taken."""
        return self._pool.pending_keys

    @property
    def are_pending(self) -> bool:
        """True if an answer has not come, or was not taken."""
        return bool(self._pool.pending_keys)

    @property
    def has_answers(self) -> bool:
        """True if an answer has come that was not taken."""
        return self._pool.has_ended_work

    def ask(self, config: Config, keys: Collection[str], memory: Memory, *, patience_s: float) -> None:
        """Ask the registries of these images, and wait for those that may answer soon.

        Args:
            config: The present configuration.
            keys: The images' keys.
            memory: The memory, for the digests that are known.
            patience_s: Seconds to wait at most.
        """
        new = set(keys) - self._pool.pending_keys
        for key in new:
            self._pool.start(key, partial(_fetch_answer, config, key, memory, self._engines))
        failed = list_failed_registries(config, memory)
        self._pool.wait([key for key in new if _get_registry(key) not in failed], patience_s)

    def use_engines(self, engines: Mapping[str, Engine]) -> None:
        """Ask for these engines' platforms from now on."""
        self._engines = engines

    def take_answers(self) -> dict[str, TagDigest | RegistryFailure]:
        """Return the answers that have come since the last call, by image key."""
        return {work.key: work.result for work in self._pool.take_finished() if work.result is not None}


def list_failed_registries(config: Config, memory: Memory) -> set[str]:
    """Return the registries that failed last time for each of their images: one that only misses a tag is well."""
    keys = {group.image_key for group in config.list_channels(with_followed=True)}
    troubled = {key for key in keys if memory.get_image(key).trouble}
    return {_get_registry(key) for key in troubled} - {_get_registry(key) for key in keys - troubled}


def _get_registry(key: str) -> str:
    return split_host_and_path(split_image_key(key)[1])[0]


def _fetch_answer(
    config: Config, key: str, memory: Memory, engines: Mapping[str, Engine]
) -> TagDigest | RegistryFailure | None:
    return observe.fetch_tag_digests(config, [key], memory, engines).get(key)
