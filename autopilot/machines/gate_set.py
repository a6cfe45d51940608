"""Hold the gates of one supervisor, and tell which of them keep a job from starting."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from autopilot.machines import cues, events, gate
from autopilot.machines.actions import Action, CancelGate
from autopilot.machines.deadlines import is_due
from autopilot.spec.plan import Gate


@dataclass(slots=True)
class GateRecord:
    """One gate: its plan and the state of its machine."""

    plan: Gate
    state: gate.GateState = field(default_factory=gate.GateState)


class GateSet:
    """The gates of one supervisor, with their machines. `now` is always in seconds on the core's clock."""

    def __init__(self, plans: Iterable[Gate], emit: Callable[[*tuple[Action | events.Event, ...]], None]) -> None:
        """Create the gates of a plan; none is asked yet.

        Args:
            plans: The gates.
            emit: Takes the effects of every step.
        """
        self.records = {planned.name: GateRecord(planned) for planned in plans}
        self._emit = emit

    def list_closed(self, job: str) -> tuple[str, ...]:
        """Return the names of the gates that keep a job from starting."""
        return tuple(
            name
            for name, record in self.records.items()
            if job in record.plan.before and record.state.phase is not gate.Phase.OPEN
        )

    def ask(self, names: Iterable[str], now: float) -> None:
        """Ask these gates, because a job waits for them; one that is asked already goes on."""
        for name in names:
            self._step(self.records[name], gate.Input.NEEDED, now)

    def release_unneeded(self, needed: Collection[str], now: float) -> None:
        """Stop asking every gate that is not among `needed`, the gates for which a job waits."""
        for name, record in self.records.items():
            if name not in needed and record.state.phase in gate.ACTIVE_PHASES:
                self._step(record, gate.Input.UNNEEDED, now)

    def is_asking(self) -> bool:
        """Return True while any gate is asked again and again."""
        return any(record.state.phase in gate.ACTIVE_PHASES for record in self.records.values())

    def handle_answer(self, cue: cues.GateAnswered, now: float) -> None:
        """Step a gate by the answer of its check; the answer of an earlier attempt is dropped."""
        record = self.records.get(cue.gate)
        if record is not None and cue.attempt == record.state.attempt:
            on = gate.Input.PASSED if cue.passed else gate.Input.REFUSED
            self._step(record, on, now, output=cue.output)

    def find_deadline(self) -> float:
        """Return the earliest deadline of any gate; infinity when there is none."""
        deadlines = [record.state.deadline for record in self.records.values()]
        return min((deadline for deadline in deadlines if deadline is not None), default=math.inf)

    def handle_deadlines(self, now: float) -> None:
        """Step every gate whose deadline has come."""
        for record in self.records.values():
            if is_due(record.state.deadline, now):
                self._step(record, gate.Input.ELAPSED, now)

    def apply_plan(self, plans: Iterable[Gate]) -> None:
        """Follow the gates of another plan: one that has changed is asked anew, one that guards other jobs is not."""
        before, self.records = self.records, {}
        for planned in plans:
            old = before.pop(planned.name, None)
            if old is not None and replace(old.plan, before=planned.before) == planned:
                self.records[planned.name] = GateRecord(planned, old.state)
                continue
            attempt = old.state.attempt if old is not None else 0  # its late answers are none of the new one
            self.records[planned.name] = GateRecord(planned, gate.GateState(attempt=attempt))
            if old is not None:
                self._cancel(old)
        for old in before.values():
            self._cancel(old)

    def _cancel(self, old: GateRecord) -> None:
        if old.state.phase is gate.Phase.CHECKING:
            self._emit(CancelGate(old.plan.name))

    def _step(self, record: GateRecord, on: gate.Input, now: float, *, output: str = "") -> None:
        record.state, effects = gate.step(record.plan, record.state, on, now, output=output)
        self._emit(*effects)
