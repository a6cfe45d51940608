"""The index of deadlines, against a search through all of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from autopilot.machines.deadline_index import DeadlineIndex

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
