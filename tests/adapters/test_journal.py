"""What is kept of the past, and what a follower that does not read costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autopilot.adapters import journal
from autopilot.adapters.journal import ALL, FOLLOWERS, KEPT, LAST_LINES, OUTPUT, QUEUE, Journal, TooManyFollowers
from autopilot.machines.facts import CheckFailed, CheckPassed, Healthy, JobStarted, NodeTroubled, Unhealthy


def written(records: list[dict[str, Any]]) -> list[str]:
    return [record["line"] for record in records]


def memory(kept: Journal) -> int:
    return sum(entry.size for ring in kept._kept.values() for entry in ring)


def test_last_lines_of_a_job() -> None:
    """The last n lines of one job come oldest first, whatever the others wrote."""
    kept = Journal("ab")
    for number in range(10):
        kept.lines("a", "stdout", [b"%d" % number, b"%d'" % number])
        kept.lines("b", "stderr", [b"noise"])
    assert written(kept.last_lines("a", 3)) == ["8'", "9", "9'"]
    assert kept.last_lines("b", 1)[0]["stream"] == "stderr"
    assert kept.last_lines("a", 0) == kept.last_lines("nobody", 5) == []


def test_last_lines_of_all_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name the lines of all jobs come in the order in which they were written."""
    kept = Journal("ab")
    for number in range(4):
        monkeypatch.setattr(journal.time, "time", lambda number=number: 1000.0 + number)
        kept.lines("ab"[number % 2], "stdout", [b"%d" % number])
    assert written(kept.last_lines(None, 3)) == ["1", "2", "3"]


@pytest.mark.parametrize("line", [b"", b"x", b"x" * 1000, b"x" * (3 * KEPT)])
@pytest.mark.parametrize("jobs", [1, 1000])
def test_memory_is_bounded(line: bytes, jobs: int) -> None:
    """However long the lines, however many jobs: the share of a job is never exceeded."""
    kept = Journal(range(jobs))  # type: ignore[arg-type]
    for _ in range(2000):
        kept.lines("a", "stdout", [line, line])
    assert memory(kept) <= min(KEPT, ALL // jobs) + journal.OVERHEAD
    assert written(kept.last_lines("a", 1))[0] == line.decode()[-min(KEPT, ALL // jobs) :]


def test_other_jobs_after_a_reload() -> None:
    """Jobs that are no more leave nothing behind."""
    kept = Journal("ab")
    for job in "ab":
        kept.lines(job, "stdout", [b"line"])
    kept.adopt("bc")
    assert [record["job"] for record in kept.last_lines(None, 9)] == ["b"]


def test_facts_without_passed_checks() -> None:
    """Events tell what has changed: a check that passes has not."""
    kept = Journal("a")
    for fact in (JobStarted("a", 1, 7), CheckPassed("a", "fine"), Healthy("a")):
        kept.hear(fact)
    started, healthy = kept.last_facts(10)
    assert (started["fact"], started["event"], started["pid"], started["says"]) == (
        "JobStarted",
        "started",
        7,
        "started",
    )
    assert (healthy["fact"], healthy["job"]) == ("Healthy", "a")


async def test_follower_gets_the_past_and_then_each_line() -> None:
    """Nothing is lost between the last lines and the following ones, and the end of the life ends it."""
    kept = Journal("a")
    kept.lines("a", "stdout", [b"before"])
    following = kept.follow_lines("a", 10)
    assert written(await anext(following)) == ["before"]
    kept.lines("a", "stdout", [b"one", b"two"])
    kept.lines("b", "stdout", [b"another's"])
    assert written(await anext(following)) == ["one", "two"]
    kept.lines("a", "stdout", [b"last"])
    closing = asyncio.ensure_future(kept.close())
    await asyncio.sleep(0)
    assert written(await anext(following)) == ["last"]
    with pytest.raises(StopAsyncIteration):
        await anext(following)
    await closing


async def test_slow_follower_loses_lines_with_a_count() -> None:
    """What has no room is counted, and the count stands where the lines are missing; what comes later is there."""
    kept = Journal("a")
    following = kept.follow_lines("a", 0)
    await anext(following)
    line, many = b"x" * 1000, 2000
    for _ in range(many):
        kept.lines("a", "stdout", [line])
    (follower,) = kept._followers
    assert sum(entry.size for entry in follower._waiting) <= QUEUE
    got, lost = 0, 0
    while not lost:
        for record in await anext(following):
            got, lost = got + ("line" in record), lost + record.get("lost", 0)
    assert got + lost == many and got > 0
    kept.lines("a", "stdout", [b"again"])
    assert written(await anext(following)) == ["again"]
    await following.aclose()


async def test_followers_are_counted() -> None:
    """So many may follow, and one that leaves makes room for another."""
    kept = Journal("a")
    following = [kept.follow_facts(0) for _ in range(FOLLOWERS)]
    for each in following:
        await anext(each)
    assert kept.full
    with pytest.raises(TooManyFollowers):
        await anext(kept.follow_facts(0))
    await following[0].aclose()
    assert not kept.full
    for each in following[1:]:
        await each.aclose()


async def test_the_end_waits_for_a_later_follower() -> None:
    """Who follows when the life ends has its moment to read, although an earlier one has left."""
    kept = Journal("a")
    with kept.following(lambda _: True):
        pass
    with kept.following(lambda _: True) as follower:
        kept.lines("a", "stdout", [b"last"])
        closing = asyncio.ensure_future(kept.close())
        for _ in range(20):  # many times what an end without a wait takes
            await asyncio.sleep(0)
        assert not closing.done()
        assert written(await follower.news()) == ["last"]
    await closing


def test_facts_are_bounded() -> None:
    """Of a check's output its end is kept, which says what is wrong; a follower's queue counts it."""
    kept = Journal("a")
    output = "noise " * 10_000 + "no disk\n\n"
    with kept.following(lambda _: True) as follower:
        for fact in (CheckFailed("a", output, 1, False), Unhealthy("a", output, 3)):
            kept.hear(fact)
        assert [len(record["output"]) for record in kept.last_facts(2)] == [OUTPUT, OUTPUT]
        assert all(record["output"].endswith("noise no disk") for record in kept.last_facts(2))
        for _ in range(1000):
            kept.hear(NodeTroubled("kind", "x" * 10_000))
        assert sum(len(entry.fact.detail) for entry in list(follower._waiting)[2:]) <= QUEUE  # type: ignore[union-attr]


def test_last_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty lines are many in few bytes: no more are told than a question may take, and none is expanded in vain."""
    kept, expanded = Journal("ab"), []
    monkeypatch.setattr(journal, "_iso", lambda moment: expanded.append(moment) or "")
    for job in "ab":
        kept.lines(job, "stdout", [b""] * 30_000 + [job.encode()])
    assert len(kept.last_lines(None, 10**6)) == LAST_LINES
    assert len(expanded) == 1
    assert [record["line"] for record in kept.last_lines("a", 2)] == ["", "a"]
