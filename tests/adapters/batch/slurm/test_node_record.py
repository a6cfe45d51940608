"""The controller's record of a node is read as scontrol prints it, and judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.adapters.batch.slurm.node_record import NodeRecord, parse_node_record

LINE = (
    "NodeName=node-a Arch=x86_64 CoresPerSocket=1  CPUAlloc=1 CPUEfctv=1 CPUTot=2 CPULoad=7.80 AvailableFeatures=x "
    "NodeAddr=10.77.0.2 NodeHostName=worker1 Port=6818 Version=24.11.5 OS=Linux 6.18 #1 SMP @0  RealMemory=500 "
    "State={states} ThreadsPerCore=1 AllocTRES=cpu=1 CurrentWatts=0 AveWatts=0  Reason={reason}\n"
)
OURS, THEIRS = "autopilot: lifetime [root@2026-11-28T19:30:40]", "disk broken [anna@2026-11-28T19:30:40]"


def parse(states: str, reason: str = "") -> NodeRecord:
    record = parse_node_record("a warning\n" + LINE.format(states=states, reason=reason))
    assert record is not None
    return record


def test_a_record() -> None:
    """Each field has its value, also one with spaces; a number that is none is left out."""
    assert parse("ALLOCATED+DRAIN+DYNAMIC_NORM", OURS) == NodeRecord(
        "node-a", frozenset({"ALLOCATED", "DRAIN", "DYNAMIC_NORM"}), OURS, "10.77.0.2", 6818, 2, 500
    )


@pytest.mark.parametrize(
    ("states", "refusing", "busy", "draining"),
    [
        ("IDLE+DYNAMIC_NORM", False, False, False),
        ("MIXED+DYNAMIC_NORM", False, True, False),
        ("MIXED+DRAIN+DYNAMIC_NORM", True, True, True),
        ("IDLE+COMPLETING+DRAIN", True, True, True),
        ("DOWN*", True, False, False),
        ("IDLE+DRAIN", True, False, True),
        ("DOWN*+DRAIN", True, False, True),
    ],
)
def test_states(states: str, refusing: bool, busy: bool, draining: bool) -> None:
    """A node that is down refuses jobs but does not drain; the end of a job still holds a node."""
    record = parse(states)
    assert (record.is_refusing_jobs, record.is_busy, record.is_draining) == (refusing, busy, draining)


@pytest.mark.parametrize(
    ("states", "reason", "draining", "problem"),
    [
        ("IDLE", "", False, None),
        ("IDLE+DRAIN", THEIRS, True, None),
        ("IDLE+DRAIN", THEIRS, False, "this node is drained (disk broken"),
        ("DOWN", "", False, "slurmctld holds this node for down (no reason"),
        ("IDLE*", "", False, "slurmctld gets no answer from slurmd"),
    ],
)
def test_problems(states: str, reason: str, draining: bool, problem: str | None) -> None:
    """A node to which no job can be sent has a problem, unless it drains on purpose."""
    found = parse(states, reason).find_problem(draining=draining)
    assert found is None if problem is None else str(found).startswith(problem)


def test_an_own_drain_is_known_by_its_reason() -> None:
    """A node is opened again only if the supervisor has closed it."""
    assert parse("IDLE+DRAIN", OURS).is_closed_by_us and parse("DOWN", OURS).is_closed_by_us
    assert not parse("IDLE+DRAIN", THEIRS).is_closed_by_us and not parse("IDLE", OURS).is_closed_by_us


@pytest.mark.parametrize(
    ("states", "reason", "leftover"),
    [
        ("IDLE+DYNAMIC_NORM", "", True),
        ("MIXED+DYNAMIC_NORM", "", True),
        ("DOWN*+DYNAMIC_NORM", "Not responding [slurm@2026-11-28T19:30:40]", True),
        ("IDLE+DRAIN+DYNAMIC_NORM", OURS, True),
        ("IDLE+DRAIN+DYNAMIC_NORM", THEIRS, False),
        ("DOWN+DYNAMIC_NORM", THEIRS, False),
        ("IDLE", "", False),
    ],
)
def test_a_leftover(states: str, reason: str, leftover: bool) -> None:
    """A node of an earlier life is removed, but none that a person has closed, and none of slurm.conf."""
    assert parse(states, reason).is_leftover == leftover


def test_a_reason_is_no_state() -> None:
    """A text of people that looks like a key changes nothing."""
    assert parse("ALLOCATED+DRAIN", "disk State=IDLE CPUTot=9").is_busy
    assert parse("IDLE", "x CPUTot=9").cpus == 2


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    """No output of a tool is an error; without a node there is no record."""
    assert parse_node_record(f"x{text}".replace("NodeName", "")) is None
    record = parse_node_record(f"NodeName=n State=IDLE+DRAIN CPUTot={text}")
    assert record is not None and record.name == "n" and record.is_draining
