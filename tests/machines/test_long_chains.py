"""Test that the work of the core grows with the number of jobs, and not with its square."""

from __future__ import annotations

import random
import sys

from autopilot.machines import actions, cues
from autopilot.machines.core import Core
from tests.machines import plans


def count_calls(length):
    """Return the number of function calls of a life in which each job starts after the one before."""
    jobs = [
        plans.build_job(f"j{n}", **({"when": plans.build_when(f"j{n - 1}", "exitSuccess")} if n else {}))
        for n in range(length)
    ]
    core = Core(plans.build_plan(*jobs), rng=random.Random(1), now=0.0)
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"

    started, finished = 0, False
    sys.setprofile(count)
    try:
        effects = core.begin(0.0)
        while effects and not finished:
            following = []
            for effect in effects:
                finished = finished or isinstance(effect, actions.Finish)
                if isinstance(effect, actions.Spawn):
                    started += 1
                    following += core.feed(cues.Spawned(effect.job, effect.run, 100), 0.0)
                    following += core.feed(cues.Exited(effect.job, effect.run, 0), 0.0)
                    core.get_deadline()
            effects = following
    finally:
        sys.setprofile(None)
    assert (started, finished) == (length, True)
    return calls


def test_a_chain_takes_time_in_proportion():
    """Four times as many jobs in a chain take about four times as many steps: sixteen times would be the square."""
    assert count_calls(400) < 6 * count_calls(100)
