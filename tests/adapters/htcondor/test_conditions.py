"""When a condition is worth telling."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.htcondor.conditions import LOOP_CALM, Condition, Restarts, Spacing, Troubles
from autopilot.machines.cues import Cue, NodeRecovered, NodeTrouble

LOOKS = st.lists(st.tuples(st.booleans(), st.floats(min_value=0.01, max_value=50)), max_size=60)


@given(LOOKS, st.floats(min_value=0, max_value=100))
def test_beginnings_and_ends_take_turns(looks: list[tuple[bool, float]], patience: float) -> None:
    """However it flickers, each trouble is told once and taken back once, and told only after its patience."""
    said: list[Cue] = []
    troubles = Troubles(said.append)
    now, bad_since = 0.0, None
    for bad, step in looks:
        now += step
        bad_since = (now if bad_since is None else bad_since) if bad else None
        began = troubles.note("k", "it hurts" if bad else None, now, patience=patience)
        if began:
            assert bad_since is not None
            assert now - bad_since >= patience
        assert troubles.on("k") == (bool(said) and isinstance(said[-1], NodeTrouble))
    kinds = [type(cue) for cue in said]
    assert kinds == [(NodeTrouble, NodeRecovered)[n % 2] for n in range(len(kinds))]


def test_patience_counts_from_the_first_bad_look() -> None:
    """One good look starts it anew."""
    condition = Condition().after(True, 0.0, 60).after(True, 59.0, 60)
    assert not condition.told
    assert condition.after(True, 60.0, 60).told
    assert not condition.after(False, 59.5, 60).after(True, 61.0, 60).told


def test_four_starts_in_ten_minutes_are_a_crash_loop() -> None:
    """Seen by its pid, over after two calm minutes, forgotten after ten."""
    restarts, now = Restarts(), 0.0
    for number, gap in enumerate((0, 10, 11, 13)):
        now += gap
        assert not restarts.looping(now)
        restarts = restarts.seen(None, now).seen(100 + number, now).seen(100 + number, now)
    assert restarts.looping(now)
    assert not restarts.looping(now + LOOP_CALM)
    assert not restarts.seen(103, now + 700).starts


@given(st.lists(st.floats(min_value=0, max_value=1), max_size=40))
def test_gaps_grow_up_to_their_limit(draws: list[float]) -> None:
    """Never sooner than the first, never later than the longest, give or take the jitter."""
    spacing, now = Spacing(2.0, 30.0), 0.0
    assert spacing.may(now)
    for draw in draws:
        spacing = spacing.done(now, draw)
        gap = spacing.due - now
        assert 2.0 * 0.8 - 1e-9 <= gap <= 30.0 * 1.2 + 1e-9
        assert not spacing.may(now + gap * 0.99)
        now = spacing.due
        assert spacing.may(now)
    assert spacing.reset().may(now)
