"""The count of payloads over the startds of a life, and the limit that follows from it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.htcondor.daemons import Daemons
from autopilot.adapters.batch.htcondor.payload_limit import PayloadCount, compute_limits
from autopilot.machines.cues import PayloadsCounted
from tests.adapters.batch.htcondor.test_node_state import ObservedNode


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObservedNode:
    """A node on which no payload has begun."""
    return ObservedNode(tmp_path, monkeypatch)


@given(
    st.integers(1, 6),
    st.lists(st.sampled_from(["start", "start", "start", "crash", "reconfigure", "look"]), max_size=40),
)
def test_no_sequence_of_starts_and_crashes_exceeds_the_limit(limit: int, happenings: list[str]) -> None:
    """Startds that obey what is written start as many payloads as the limit says: never more, and in the end no fewer.

    Each count is written as soon as it is seen; a startd reads it at its own start, and when it is told to.
    """
    pids = itertools.count(100)
    startd, job_starts, started, written = next(pids), 0, 0, PayloadCount()

    def read_limit() -> int:
        present, other = compute_limits(limit, written)
        return present if written.startd in (None, startd) else other

    allowed = read_limit()
    for happening in [*happenings, *["start"] * limit]:
        match happening:
            case "start" if job_starts < allowed:
                started, job_starts = started + 1, job_starts + 1
                written = written.record(startd, job_starts)
            case "crash":
                startd, job_starts = next(pids), 0
                allowed = read_limit()
            case "reconfigure":
                allowed = read_limit()
            case "look":
                written = written.record(startd, job_starts)
        assert started <= limit and written.total == started
    assert started == limit


@pytest.mark.parametrize(
    ("looks", "total"),
    [
        ([(1.0, Daemons(5, 7, (8,))), (2.0, Daemons(5, 7, (8,)))], 1),
        ([(1.0, Daemons(5, 7)), (2.0, Daemons(5, None, (8,)))], 1),
        ([(1.0, Daemons(5, 7, (8,))), (2.0, Daemons(5, None)), (3.0, Daemons(5, 9)), (4.0, Daemons(5, 9, (8,)))], 2),
        ([(1.0, Daemons(5, 7, (8,))), (2.0, Daemons(5, 9, (8,)))], 1),
        ([(1.0, Daemons(5, 7))], 0),
    ],
    ids=["a look at the same starter", "after the crash", "a pid that came again", "outlives its startd", "none"],
)
def test_starters_count_for_their_startd(node: ObservedNode, looks: list[tuple[float, Daemons]], total: int) -> None:
    """Each starter with a payload counts once, for the startd under which it began."""
    node.observe(*looks)
    assert node.state.payload_count.total == total
    assert [cue.count for cue in node.cues if isinstance(cue, PayloadsCounted)] == list(range(1, total + 1))


def test_the_startds_own_count_is_taken(node: ObservedNode) -> None:
    """A payload that was over before anybody looked counts by the word of its startd; an older word changes nothing."""
    node.observe((1.0, Daemons(5, 7)))
    node.state.record_job_starts(7, 3)
    node.state.record_job_starts(7, 2)
    node.observe((2.0, Daemons(5, 9)))
    node.state.record_job_starts(9, 1)
    assert node.state.payload_count == PayloadCount(9, 3, 1)
