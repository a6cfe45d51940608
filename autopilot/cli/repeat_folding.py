"""Fold repeated lines of a timeline: each subject's own sequence is searched for blocks that repeat.

The lines of several subjects mix in a timeline, so a job that runs each minute is never followed by itself. Therefore
each subject is looked at alone. A block stays at its first place, and its last line tells how often it comes again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_BLOCK_LINES = 5  # a run with a restart has four: started, ended, restarts, unhealthy
MIN_BLOCK_REPEATS = 2  # of several lines; a single line is folded at its first repetition


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One line of a timeline.

    Attributes:
        at: Seconds from the start.
        subject: The job or the watch that the line is about; "" for the life.
        text: The sentence.
        key: Equal for lines that say the same.
        block_lines: How many lines up to this one repeat.
        repeats: How often they come again.
        until: Time of the last repeated line.
    """

    at: float
    subject: str
    text: str
    key: str
    block_lines: int = 1
    repeats: int = 0
    until: float = 0.0


def fold_repeats(lines: Sequence[TimelineLine]) -> list[TimelineLine]:
    """Return the lines without repeated blocks, in their order; the last line of a block tells of its repetitions."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, line in enumerate(lines):
        places[line.subject].append(index)
    kept: dict[int, TimelineLine] = {}
    for indices in places.values():
        kept |= _fold_subject(lines, indices)
    return [kept[index] for index in sorted(kept)]


def _fold_subject(lines: Sequence[TimelineLine], indices: Sequence[int]) -> dict[int, TimelineLine]:
    keys = [lines[index].key for index in indices]
    kept = {}
    start = 0
    while start < len(keys):
        size, repeats = _find_block(keys, start)
        for place in indices[start : start + size]:
            kept[place] = lines[place]
        last, end = indices[start + size - 1], start + size * (repeats + 1)
        if repeats:
            kept[last] = replace(lines[last], block_lines=size, repeats=repeats, until=lines[indices[end - 1]].at)
        start = end
    return kept


def _find_block(keys: Sequence[str], start: int) -> tuple[int, int]:
    """Return size and repetitions of the block at a place that saves the most lines; (1, 0) when nothing repeats."""
    best = (1, 0)
    for size in range(1, MAX_BLOCK_LINES + 1):
        block, repeats = keys[start : start + size], 0
        while keys[start + size * (repeats + 1) : start + size * (repeats + 2)] == block:
            repeats += 1
        enough = 1 if size == 1 else MIN_BLOCK_REPEATS
        if repeats >= enough and size * repeats > best[0] * best[1]:
            best = (size, repeats)
    return best
