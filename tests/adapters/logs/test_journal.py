"""Test the limits of the journal and of its followers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autopilot.adapters.logs import journal
from autopilot.adapters.logs.journal import (
    MAX_FOLLOWERS,
    MAX_JOB_BYTES,
    MAX_LAST_LINES,
    MAX_OUTPUT_CHARS,
    MAX_QUEUE_BYTES,
    MAX_TOTAL_BYTES,
    EventEntry,
    Journal,
    TooManyFollowersError,
)
from autopilot.machines.events import CheckFailed, CheckPassed, ConditionRaised, Healthy, JobStarted, Unhealthy


def list_lines(records: list[dict[str, Any]]) -> list[str]:
    return [record["line"] for record in records]


def sum_sizes(kept: Journal) -> int:
    return sum(entry.size for ring in kept._lines_by_job.values() for entry in ring)


def test_last_lines_of_a_job() -> None:
    """The last n lines of one job come oldest first, whatever the others wrote."""
    kept = Journal("ab")
    for number in range(10):
        kept.add_lines("a", "stdout", [b"%d" % number, b"%d'" % number])
        kept.add_lines("b", "stderr", [b"noise"])
    assert list_lines(kept.get_last_lines("a", 3)) == ["8'", "9", "9'"]
    assert kept.get_last_lines("b", 1)[0]["stream"] == "stderr"
    assert kept.get_last_lines("a", 0) == kept.get_last_lines("nobody", 5) == []


def test_last_lines_of_all_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name the lines of all jobs come in the order in which they were written."""
    kept = Journal("ab")
    for number in range(4):
        monkeypatch.setattr("time.time", lambda number=number: 1000.0 + number)
        kept.add_lines("ab"[number % 2], "stdout", [b"%d" % number])
    assert list_lines(kept.get_last_lines(None, 3)) == ["1", "2", "3"]


@pytest.mark.parametrize("line", [b"", b"x", b"x" * 1000, b"x" * (3 * MAX_JOB_BYTES)])
@pytest.mark.parametrize("jobs", [1, 1000])
def test_memory_is_bounded(line: bytes, jobs: int) -> None:
    """However long the lines, however many jobs: the share of a job is never exceeded."""
    kept = Journal(range(jobs))  # type: ignore[arg-type]
    for _ in range(2000):
        kept.add_lines("a", "stdout", [line, line])
    assert sum_sizes(kept) <= min(MAX_JOB_BYTES, MAX_TOTAL_BYTES // jobs) + journal.ENTRY_OVERHEAD_BYTES
    assert list_lines(kept.get_last_lines("a", 1))[0] == line.decode()[-min(MAX_JOB_BYTES, MAX_TOTAL_BYTES // jobs) :]


def test_other_jobs_after_a_reload() -> None:
    """Jobs that are no more leave nothing behind."""
    kept = Journal("ab")
    for job in "ab":
        kept.add_lines(job, "stdout", [b"line"])
    kept.set_jobs("bc")
    assert [record["job"] for record in kept.get_last_lines(None, 9)] == ["b"]


def test_facts_without_passed_checks() -> None:
    """Events tell what has changed: a check that passes has not."""
    kept = Journal("a")
    for fact in (JobStarted("a", 1, 7), CheckPassed("a", "fine"), Healthy("a")):
        kept.on_event(fact)
    started, healthy = kept.get_last_events(10)
    assert (started["event"], started["trigger"], started["pid"], started["says"]) == (
        "JobStarted",
        "started",
        7,
        "started",
    )
    assert (healthy["event"], healthy["job"]) == ("Healthy", "a")


async def test_follower_gets_the_past_and_then_each_line() -> None:
    """No line is lost between the last lines and the following ones, and the end of the life ends the stream."""
    kept = Journal("a")
    kept.add_lines("a", "stdout", [b"before"])
    following = kept.follow_lines("a", 10)
    assert list_lines(await anext(following)) == ["before"]
    kept.add_lines("a", "stdout", [b"one", b"two"])
    kept.add_lines("b", "stdout", [b"another's"])
    assert list_lines(await anext(following)) == ["one", "two"]
    kept.add_lines("a", "stdout", [b"last"])
    closing = asyncio.ensure_future(kept.close())
    await asyncio.sleep(0)
    assert list_lines(await anext(following)) == ["last"]
    with pytest.raises(StopAsyncIteration):
        await anext(following)
    await closing


async def test_slow_follower_loses_lines_with_a_count() -> None:
    """Lines without room are counted, and the count stands in their place; later lines are there."""
    kept = Journal("a")
    following = kept.follow_lines("a", 0)
    await anext(following)
    line, many = b"x" * 1000, 2000
    for _ in range(many):
        kept.add_lines("a", "stdout", [line])
    (follower,) = kept._followers
    assert sum(entry.size for entry in follower._queue) <= MAX_QUEUE_BYTES
    got, lost = 0, 0
    while not lost:
        for record in await anext(following):
            got, lost = got + ("line" in record), lost + record.get("lost", 0)
    assert got + lost == many and got > 0
    kept.add_lines("a", "stdout", [b"again"])
    assert list_lines(await anext(following)) == ["again"]
    await following.aclose()


async def test_followers_are_counted() -> None:
    """So many may follow, and one that leaves makes room for another."""
    kept = Journal("a")
    following = [kept.follow_events(0) for _ in range(MAX_FOLLOWERS)]
    for each in following:
        await anext(each)
    assert kept.is_full
    with pytest.raises(TooManyFollowersError):
        await anext(kept.follow_events(0))
    await following[0].aclose()
    assert not kept.is_full
    for each in following[1:]:
        await each.aclose()


async def test_the_end_waits_for_a_later_follower() -> None:
    """A follower at the end of the life has time to read, although an earlier one has left."""
    kept = Journal("a")
    with kept.add_follower(lambda _: True):
        pass
    with kept.add_follower(lambda _: True) as follower:
        kept.add_lines("a", "stdout", [b"last"])
        closing = asyncio.ensure_future(kept.close())
        for _ in range(20):  # many times what an end without a wait takes
            await asyncio.sleep(0)
        assert not closing.done()
        assert list_lines(await follower.wait_for_records()) == ["last"]
    await closing


def test_facts_are_bounded() -> None:
    """Of a check's output its end is kept, which says what is wrong; a follower's queue counts it."""
    kept = Journal("a")
    output = "noise " * 10_000 + "no disk\n\n"
    with kept.add_follower(lambda _: True) as follower:
        for fact in (CheckFailed("a", output, 1, False), Unhealthy("a", output, 3)):
            kept.on_event(fact)
        assert [len(record["output"]) for record in kept.get_last_events(2)] == [MAX_OUTPUT_CHARS, MAX_OUTPUT_CHARS]
        assert all(record["output"].endswith("noise no disk") for record in kept.get_last_events(2))
        for _ in range(1000):
            kept.on_event(ConditionRaised("kind", "x" * 10_000))
        queued = [entry.event for entry in list(follower._queue)[2:] if isinstance(entry, EventEntry)]
        details = [event.detail for event in queued if isinstance(event, ConditionRaised)]
        assert details and sum(map(len, details)) <= MAX_QUEUE_BYTES


def test_last_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty lines are many in few bytes: no more are told than a question may take, and none is expanded in vain."""
    kept = Journal("ab")
    expanded: list[float] = []

    def format_timestamp(epoch_s: float, digits: int) -> str:
        expanded.append(epoch_s)
        return ""

    monkeypatch.setattr(journal, "format_timestamp", format_timestamp)
    for job in "ab":
        kept.add_lines(job, "stdout", [b""] * 30_000 + [job.encode()])
    assert len(kept.get_last_lines(None, 10**6)) == MAX_LAST_LINES
    assert len(expanded) == 1
    assert [record["line"] for record in kept.get_last_lines("a", 2)] == ["", "a"]
