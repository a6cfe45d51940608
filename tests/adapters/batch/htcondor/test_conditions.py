"""Conditions are reported after their patience, and cleared once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.conditions import Backoff, Condition, Conditions
from autopilot.adapters.batch.htcondor.startd_health import CRASH_LOOP_CALM_S, StartdStarts, StartdWakeups
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue

OBSERVATIONS = st.lists(st.tuples(st.booleans(), st.floats(min_value=0.01, max_value=50)), max_size=60)


@given(OBSERVATIONS, st.floats(min_value=0, max_value=100))
def test_beginnings_and_ends_take_turns(looks: list[tuple[bool, float]], patience: float) -> None:
    """However it flickers, each trouble is told once and taken back once, and told only after its patience."""
    reported_cues: list[Cue] = []
    tracker = Conditions(reported_cues.append)
    now, bad_since = 0.0, None
    for bad, step in looks:
        now += step
        bad_since = (now if bad_since is None else bad_since) if bad else None
        began = tracker.update("k", "it hurts" if bad else None, now, patience=patience)
        if began:
            assert bad_since is not None
            assert now - bad_since >= patience
        assert tracker.is_active("k") == (bool(reported_cues) and isinstance(reported_cues[-1], ConditionDetected))
    kinds = [type(cue) for cue in reported_cues]
    assert kinds == [(ConditionDetected, ConditionResolved)[n % 2] for n in range(len(kinds))]


def test_patience_counts_from_the_first_bad_look() -> None:
    """One good look starts it anew."""
    condition = Condition().update(True, 0.0, 60).update(True, 59.0, 60)
    assert not condition.reported
    assert condition.update(True, 60.0, 60).reported
    assert not condition.update(False, 59.5, 60).update(True, 61.0, 60).reported


def test_four_starts_in_ten_minutes_are_a_crash_loop() -> None:
    """Seen by its pid, over after two calm minutes, forgotten after ten."""
    restarts, now = StartdStarts(), 0.0
    for number, gap in enumerate((0, 10, 11, 13)):
        now += gap
        assert not restarts.is_crash_looping(now)
        restarts = restarts.record(None, now).record(100 + number, now).record(100 + number, now)
    assert restarts.is_crash_looping(now)
    assert not restarts.is_crash_looping(now + CRASH_LOOP_CALM_S)
    assert not restarts.record(103, now + 700).start_times


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2) | st.none(), st.floats(0.1, 200)), max_size=30))
def test_only_a_startd_that_never_wakes_hangs(queries: list[tuple[int, int | None, float]]) -> None:
    """It hangs when all queries of the last 300 s found the same process with the same number of wake-ups."""
    record, now = StartdWakeups(), 0.0
    seen: list[tuple[float, int, int | None]] = []
    for pid, count, step in queries:
        now += step
        seen.append((now, pid, count))
        record = record.record(pid, count, now)
        unchanged_since = now
        for at, *found in reversed(seen):
            if found != [pid, count]:
                break
            unchanged_since = at
        assert record.is_hung(now, 300.0) is (count is not None and now - unchanged_since >= 300.0)


@given(st.lists(st.floats(min_value=0, max_value=1), max_size=40))
def test_gaps_grow_up_to_their_limit(draws: list[float]) -> None:
    """Never sooner than the first, never later than the longest, give or take the jitter."""
    spacing, now = Backoff(2.0, 30.0), 0.0
    assert spacing.is_due(now)
    for draw in draws:
        spacing = spacing.record_try(now, draw)
        gap = spacing.due_at - now
        assert 2.0 * 0.8 - 1e-9 <= gap <= 30.0 * 1.2 + 1e-9
        assert not spacing.is_due(now + gap * 0.99)
        now = spacing.due_at
        assert spacing.is_due(now)
    assert spacing.reset().is_due(now)
