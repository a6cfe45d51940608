"""Conditions are reported once when they appear or change, and once when they are over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.condition_reporter import ConditionReporter
from autopilot.machines.cues import ConditionDetected, ConditionResolved

STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, "first", "second"])), max_size=20)


@given(STEPS)
def test_reports_follow_the_conditions(steps):
    """Applying the reports in their order gives the active conditions, and no report changes nothing."""
    cues: list[ConditionDetected | ConditionResolved] = []
    reporter = ConditionReporter(cues.append)
    wanted: dict[str, str] = {}
    for kind, message in steps:
        if message is None:
            reporter.clear_condition(kind)
            wanted.pop(kind, None)
        else:
            reporter.raise_condition(kind, message)
            wanted[kind] = message
    shown: dict[str, str] = {}
    for cue in cues:
        before = dict(shown)
        if isinstance(cue, ConditionDetected):
            shown[cue.kind] = cue.detail
        else:
            shown.pop(cue.kind, None)
        assert shown != before
    assert shown == wanted
    assert all(reporter.is_active(kind) == (kind in wanted) for kind in "ab")


def test_all_are_cleared_at_once():
    """Every active condition is reported as over, and one that was over already is not."""
    cues: list[ConditionDetected | ConditionResolved] = []
    reporter = ConditionReporter(cues.append)
    for kind in ("a", "b", "c"):
        reporter.raise_condition(kind, "bad")
    reporter.clear_condition("b")
    cues.clear()
    reporter.clear_all()
    assert cues == [ConditionResolved("a"), ConditionResolved("c")]
