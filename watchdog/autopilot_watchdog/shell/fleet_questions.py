"""Ask Consul for the fleet's state beside the passes, so that a Consul that hangs holds up no slot.

A pass waits a moment for the answer (`registry.patience`), unless the last question took longer. A late answer is used
by the next pass, and answers of registries that come meanwhile wait for it: the fleet may have quarantined the digests
that they bring. Until then the memory's quarantines, urgency and good digests of the fleet stay as they are.

A late answer may be older than an order of this host, such as the release of a digest, and would take it back. So an
answer counts only if this host's quarantines are still those of the moment of the question.
"""

from __future__ import annotations

from collections.abc import Callable

from autopilot_watchdog.core.memory import Memory
from autopilot_watchdog.core.observation import FleetState
from autopilot_watchdog.shell.fleet_store import FleetStore
from autopilot_watchdog.shell.work_pool import WorkPool

KEY = "fleet"


class FleetQuestions:
    """Question to one Consul that is under way, if any."""

    def __init__(self, store: FleetStore, wake: Callable[[], None]) -> None:
        """Begin without a question.

        Args:
            store: The client of the host's Consul agent.
            wake: Called from another thread when an answer has come.
        """
        self._store = store
        self._pool: WorkPool[str, FleetState | None] = WorkPool("question", wake)
        self._asked_for: object = None  # quarantines of this host at the moment of the question

    @property
    def is_pending(self) -> bool:
        """True if the answer has not come, or was not taken."""
        return bool(self._pool.pending_keys)

    @property
    def is_unanswered(self) -> bool:
        """True if a question is under way, without an answer or the end of its time."""
        return self.is_pending and not self.has_answer

    @property
    def has_answer(self) -> bool:
        """True if an answer has come that was not taken."""
        return self._pool.has_ended_work

    def ask(self, memory: Memory, *, patience_s: float) -> None:
        """Ask, unless a question is under way, and wait for the answer if it may come soon.

        Args:
            memory: The memory of this host.
            patience_s: Seconds to wait at most.
        """
        if self.is_pending:
            return
        self._asked_for = _list_quarantines(memory)
        self._pool.start(KEY, self._store.read_fleet_state)
        self._pool.wait([KEY], 0.0 if self._store.is_silent else patience_s)
        self._store.is_silent = not self._pool.has_ended_work

    def ask_again_if_outdated(self, memory: Memory, *, patience_s: float) -> None:
        """Replace an answer that does not count any more by a new question, and wait for it as `ask` does."""
        if self.has_answer and self._asked_for != _list_quarantines(memory):
            self.take_answer(memory)
            self.ask(memory, patience_s=patience_s)

    def take_answer(self, memory: Memory) -> FleetState | None:
        """Return the answer that has come since the last call; None if there is none, or it does not count."""
        for work in self._pool.take_finished():
            self._store.is_silent &= work.result is None
            if self._asked_for == _list_quarantines(memory):
                return work.result
        return None


def _list_quarantines(memory: Memory) -> object:
    promotions = {name: group.promotion for name, group in memory.groups.items()}
    return {key: image.quarantine for key, image in memory.images.items()}, promotions
