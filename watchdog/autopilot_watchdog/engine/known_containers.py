"""Remember the engine's answers about containers that run, so that a look at a full host needs one question.

An answer counts while the engine's stream of events is open and has no event about the container. Without the stream,
as in a `run`, nothing is remembered. Engines may drop events of a slow reader, so an answer is used for a limited time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from autopilot_watchdog.bounded_json import get_text
from autopilot_watchdog.core.observation import Container

MAX_AGE_S = 600.0  # of an answer
HEALTHY = "healthy"  # the engines' word, in a container's state and in the list of containers


@dataclass(frozen=True, slots=True)
class _KnownContainer:
    container: Container
    end: float  # moment of the monotonic clock


class KnownContainers:
    """Containers that run and have not changed since the engine told about them; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _KnownContainer] = {}
        self._is_listening = False
        self._changes = 0

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Remember answers during the block: `forget` is called for every change."""
        with self._lock:
            self._is_listening = True
        try:
            yield
        finally:
            with self._lock:
                self._is_listening = False
            self.forget("")

    def forget(self, container: str) -> None:
        """Forget the answer about a container that has changed, by its id; "" stands for all of them."""
        with self._lock:
            self._changes += 1
            if container:
                self._known.pop(container, None)
            else:
                self._known.clear()

    def count_changes(self) -> int:
        """Return the number of changes until now, for `remember`; to be asked for before the engine is asked."""
        with self._lock:
            return self._changes

    def remember(self, container: Container, changes: int) -> None:
        """Remember a container that runs well, unless something has changed since `changes` were counted."""
        if container.state != "running" or container.health not in ("", HEALTHY):
            return
        with self._lock:
            if self._is_listening and changes == self._changes:
                self._known[container.id] = _KnownContainer(container, time.monotonic() + MAX_AGE_S)

    def find(self, item: object) -> Container | None:
        """Return the known container of an entry of the engine's list; None if the engine must be asked."""
        with self._lock:
            known = self._known.get(get_text(item, "Id"))
        if known is None or time.monotonic() >= known.end or get_text(item, "State") != "running":
            return None
        _, bracket, remark = get_text(item, "Status").partition("(")  # such as: Up 2 hours (healthy)
        is_unchanged = remark == f"{HEALTHY})" if known.container.health else not bracket
        return known.container if is_unchanged else None

    def keep_only(self, containers: Collection[str]) -> None:
        """Forget all containers but these, by their ids."""
        with self._lock:
            for gone in self._known.keys() - set(containers):
                del self._known[gone]
