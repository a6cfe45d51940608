"""The index of deadlines, against a search through all of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from autopilot.machines.deadline_index import MAX_OUTDATED, DeadlineIndex

NAMES = st.sampled_from("abcde")
MOMENTS = st.sampled_from([0.0, 1.0, 2.0, 3.5, math.inf])


@given(st.lists(st.tuples(NAMES, MOMENTS, st.sampled_from([0.5, 2.0, 9.0]))))
def test_it_finds_what_a_search_finds(steps):
    """After any changes the first deadline and the due names are those that a search through all finds."""
    index, known = DeadlineIndex(), {}
    for name, moment, now in steps:
        index.set(name, moment)
        known[name] = moment
        assert index.find_first() == min(known.values())
        for _ in range(2):  # asking changes nothing
            assert sorted(index.list_due(now)) == sorted(n for n, deadline in known.items() if deadline <= now)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(1, 1e9)), max_size=300))
def test_outdated_deadlines_are_forgotten(changes):
    """However often deadlines change behind a near one, only so many entries are kept, and the right ones are found."""
    index, known = DeadlineIndex(), {"near": 0.0}
    index.set("near", 0.0)
    for name, moment in [*changes, *(("a", 10.0 + run) for run in range(100))]:
        index.set(name, moment)
        known[name] = moment
        assert len(index._heap) <= 2 * len(known) + MAX_OUTDATED
    assert index.find_first() == 0.0
    index.set("near", math.inf)
    del known["near"]
    assert index.find_first() == min(known.values())
    assert sorted(index.list_due(1e10)) == sorted(known)
