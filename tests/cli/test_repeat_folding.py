"""Repeated lines are folded without a loss: the numbers tell of every line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autopilot.cli.repeat_folding import TimelineLine, fold_repeats

_LINES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), max_size=60)


def build(pairs: list[tuple[str, str]]) -> list[TimelineLine]:
    return [TimelineLine(float(at), subject, text, text) for at, (subject, text) in enumerate(pairs)]


@given(_LINES)
def test_nothing_is_lost(pairs: list[tuple[str, str]]) -> None:
    """Each subject's sequence can be written again from its folded lines, which are in the order of time."""
    folded = fold_repeats(build(pairs))
    assert [line.at for line in folded] == sorted(line.at for line in folded)
    for subject in "ab":
        unfolded: list[str] = []
        for line in (line for line in folded if line.subject == subject):
            unfolded.append(line.text)
            unfolded += unfolded[-line.block_lines :] * line.repeats
        assert unfolded == [text for one, text in pairs if one == subject]


def test_blocks() -> None:
    """The block that saves the most lines is chosen, and pairs need two repetitions."""
    texts = [line.text for line in fold_repeats(build([("a", text) for text in "xyxyxyz"]))]
    assert texts == ["x", "y", "z"]
    assert len(fold_repeats(build([("a", text) for text in "xyxy"]))) == 4
    assert [line.repeats for line in fold_repeats(build([("a", "x")] * 9))] == [8]
