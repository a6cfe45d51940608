"""Report conditions that need an operator's attention: once when they appear or change, once when they are over."""

from __future__ import annotations

from collections.abc import Callable

from autopilot.machines.cues import ConditionDetected, ConditionResolved


class ConditionReporter:
    """The active conditions of one adapter, each reported as a cue once."""

    def __init__(self, report: Callable[[ConditionDetected | ConditionResolved], None]) -> None:
        self._report = report
        self._message_by_kind: dict[str, str] = {}

    def raise_condition(self, kind: str, message: str) -> None:
        """Report a condition, unless it is active with the same message already."""
        if self._message_by_kind.get(kind) != message:
            self._message_by_kind[kind] = message
            self._report(ConditionDetected(kind, message))

    def clear_condition(self, kind: str) -> None:
        """Report that a condition is over, if it is active."""
        if self._message_by_kind.pop(kind, None) is not None:
            self._report(ConditionResolved(kind))

    def clear_all(self) -> None:
        """Report all active conditions as over."""
        for kind in tuple(self._message_by_kind):
            self.clear_condition(kind)

    def is_active(self, kind: str) -> bool:
        """Return True while a condition of that kind is active."""
        return kind in self._message_by_kind
