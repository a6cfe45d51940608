"""What was said lately, for those who ask: the last lines of each job, and the last facts.

Bounded in every direction, for a supervisor's memory is the node's: KEPT bytes of each job (less for each when there
are so many that ALL would not do), FACTS facts, FOLLOWERS who follow, QUEUE bytes that wait for one of them. Who
reads too slowly loses what comes and is told how much; nothing here ever makes a job wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

from autopilot.adapters import narrator
from autopilot.machines.facts import CheckFailed, CheckPassed, Fact, Unhealthy

KEPT = 64 * 1024  # bytes of each job's lines
ALL = 8 << 20  # bytes of all jobs' lines
FACTS = 500
OUTPUT = 500  # characters of a check's output, its end: it may have written 64 KiB
LAST_LINES = 10_000  # at most are told at once, which takes 0.1 s
FOLLOWERS = 16
QUEUE = 256 * 1024  # bytes that wait for one follower
OVERHEAD = 200  # bytes that an entry takes beside its text, about
LAST, STUCK = 2.0, 0.25  # s that followers have at the end for what they have not read yet; without a sign of it


@dataclass(frozen=True, slots=True)
class Lines:
    """What one read of a job's pipe brought: whole lines, joined by line ends. `time`: seconds since the epoch."""

    time: float
    job: str
    stream: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data) + OVERHEAD

    @property
    def count(self) -> int:
        return self.data.count(b"\n") + 1

    def records(self, last: int | None = None) -> Iterator[dict[str, Any]]:
        """Of all its lines, or the `last` so many, at least one."""
        when = _iso(self.time)
        for line in self.data.split(b"\n") if last is None else self.data.rsplit(b"\n", last)[-last:]:
            text = line.decode(errors="replace").rstrip("\r")
            yield {"time": when, "job": self.job, "stream": self.stream, "line": text}


@dataclass(frozen=True, slots=True)
class Happened:
    """One fact and its time."""

    time: float
    fact: Fact
    count: ClassVar[int] = 1

    @property
    def size(self) -> int:
        return len(repr(self.fact)) + 4 * OVERHEAD

    def records(self) -> Iterator[dict[str, Any]]:
        level, sentence, _ = narrator.sentence(self.fact) or ("debug", "", {})
        head = {"time": _iso(self.time), "fact": type(self.fact).__name__, "event": self.fact.event or None}
        yield {**head, "level": level, "says": sentence, **asdict(self.fact)}


Entry = Lines | Happened


class TooManyFollowers(Exception):
    """FOLLOWERS follow already."""


class Follower:
    """What came since, as records; a record `{"lost": n}` stands where n lines or facts had no room."""

    def __init__(self, wants: Callable[[Entry], bool]) -> None:
        self._wants = wants
        self._waiting: deque[Entry] = deque()
        self._size = 0
        self._lost = 0
        self.taken = 0  # entries
        self._news = asyncio.Event()
        self._over = False

    def offer(self, entry: Entry) -> None:
        if not self._wants(entry):
            return
        if self._lost or self._size + entry.size > QUEUE:
            self._lost += entry.count
        else:
            self._waiting.append(entry)
            self._size += entry.size
        self._news.set()

    def end(self) -> None:
        self._over = True
        self._news.set()

    async def news(self) -> list[dict[str, Any]]:
        """What has come; waits for something. Empty: nothing will come any more."""
        while not self._waiting and not self._over:
            self._news.clear()
            await self._news.wait()
        records = []
        if self._waiting:
            entry = self._waiting.popleft()
            self.taken += 1
            self._size -= entry.size
            records = list(entry.records())
        if not self._waiting and self._lost:
            records.append({"lost": self._lost})
            self._lost = 0
        return records


class Journal:
    def __init__(self, jobs: Collection[str]) -> None:
        self._kept: dict[str, deque[Lines]] = {}
        self._sizes: dict[str, int] = {}
        self._facts: deque[Happened] = deque(maxlen=FACTS)
        self._followers: set[Follower] = set()
        self._alone = asyncio.Event()  # nobody follows any more
        self.adopt(jobs)

    def adopt(self, jobs: Collection[str]) -> None:
        """The jobs that share the memory from now on; what others wrote is forgotten."""
        self._limit = min(KEPT, ALL // max(1, len(jobs)))
        for job in self._kept.keys() - set(jobs):
            del self._kept[job], self._sizes[job]

    # --- told ---

    def lines(self, job: str, stream: str, lines: list[bytes]) -> None:
        """On the way of every line that a job writes: it copies once, and no more."""
        data = b"\n".join(lines)
        if len(data) > self._limit:
            data = data[-self._limit :].partition(b"\n")[2] or data[-self._limit :]
        entry = Lines(time.time(), job, stream, data)
        kept = self._kept.setdefault(job, deque())
        kept.append(entry)
        size = self._sizes.get(job, 0) + entry.size
        while size > self._limit and len(kept) > 1:
            size -= kept.popleft().size
        self._sizes[job] = size
        self._offer(entry)

    def hear(self, fact: Fact) -> None:
        """All but the checks that pass: they say that nothing has happened."""
        if isinstance(fact, CheckFailed | Unhealthy):
            fact = replace(fact, output=fact.output.rstrip()[-OUTPUT:])
        if not isinstance(fact, CheckPassed):
            happened = Happened(time.time(), fact)
            self._facts.append(happened)
            self._offer(happened)

    def _offer(self, entry: Entry) -> None:
        for follower in self._followers:
            follower.offer(entry)

    async def close(self) -> None:
        """The end: who follows has a moment to read what is left."""
        if not self._followers:
            return
        for follower in self._followers:
            follower.end()
        for _ in range(round(LAST / STUCK)):
            before = self._taken()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._alone.wait(), STUCK)
            if not self._followers or self._taken() == before:
                break

    def _taken(self) -> int:
        return sum(follower.taken for follower in self._followers)

    # --- asked ---

    def last_lines(self, job: str | None, count: int) -> list[dict[str, Any]]:
        """The last `count` lines of the job, or of all, at most LAST_LINES, oldest first."""
        count = min(count, LAST_LINES)
        chosen: list[Lines] = []
        for name, kept in self._kept.items():
            if job in (None, name):
                wanted = count
                for entry in reversed(kept):
                    if wanted <= 0:
                        break
                    chosen.append(entry)
                    wanted -= entry.count
        chosen.sort(key=lambda entry: entry.time, reverse=True)
        told: list[list[dict[str, Any]]] = []
        for entry in chosen:
            if count <= 0:
                break
            told.append(list(entry.records(count)))
            count -= len(told[-1])
        return [record for records in reversed(told) for record in records]

    def last_facts(self, count: int) -> list[dict[str, Any]]:
        """The last `count` facts, oldest first."""
        chosen = list(self._facts)[-count:] if count else []
        return [record for happened in chosen for record in happened.records()]

    async def follow_lines(self, job: str | None, count: int) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The last lines, then each that comes. Raises TooManyFollowers at its first step: ask `full` before."""
        with self.following(lambda entry: isinstance(entry, Lines) and job in (None, entry.job)) as follower:
            yield self.last_lines(job, count)
            while records := await follower.news():
                yield records

    async def follow_facts(self, count: int) -> AsyncGenerator[list[dict[str, Any]], None]:
        with self.following(lambda entry: isinstance(entry, Happened)) as follower:
            yield self.last_facts(count)
            while records := await follower.news():
                yield records

    @property
    def full(self) -> bool:
        """Nobody more can follow."""
        return len(self._followers) >= FOLLOWERS

    @contextmanager
    def following(self, wants: Callable[[Entry], bool]) -> Iterator[Follower]:
        """Raises TooManyFollowers."""
        if self.full:
            raise TooManyFollowers
        follower = Follower(wants)
        self._followers.add(follower)
        self._alone.clear()
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            if not self._followers:
                self._alone.set()


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
