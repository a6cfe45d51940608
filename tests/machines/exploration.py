"""Walk a machine through every state that it can reach, and note the phases that each cell leads to."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, contextmanager
from unittest import mock

from autopilot.machines import health, job, lifetime, shutdown


def observe_targets(initial, list_steps, get_key):
    """Return the phases that follow, by phase and input.

    Args:
        initial: Situations to begin with; each has a `phase`.
        list_steps: Yields every (input, situation after it) of a situation; the input None is not the machine's.
        get_key: Tells the situations apart that are worth a visit of their own.
    """
    observed = defaultdict(set)
    pending, visited = list(initial), set()
    while pending:
        situation = pending.pop()
        if (key := get_key(situation)) in visited:
            continue
        visited.add(key)
        for on, after in list_steps(situation):
            if on is not None:
                observed[situation.phase, on].add(after.phase)
            pending.append(after)
    return observed


def assert_targets_are_true(table, observed):
    """Compare the targets that a table names with those that were observed."""
    named = {key: set(cell.targets) for key, cell in table.items()}
    reached = {(phase, on): observed[phase, on] - {phase} for phase, on in table}
    differences = [f"{key}: {named[key]} != {reached[key]}" for key in table if named[key] != reached[key]]
    assert not differences, "\n".join(differences)


def _build_checked_cell(phase, on, cell):
    def step(t):
        state, effects = cell(t)
        assert state.phase in {phase, *cell.targets}, f"{phase}, {on} led to {state.phase}"
        return state, effects

    return step


@contextmanager
def checked_tables():
    """Fail at any step that leads to a phase that its cell does not name."""
    with ExitStack() as stack:
        for machine in (job, health, lifetime, shutdown):
            checked = {(phase, on): _build_checked_cell(phase, on, cell) for (phase, on), cell in machine.TABLE.items()}
            stack.enter_context(mock.patch.dict(machine.TABLE, checked))
        yield
