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
from typing import Any, ClassVar

from autopilot.adapters.logs import log_messages
from autopilot.machines.events import CheckFailed, CheckPassed, Event, Unhealthy
from autopilot.timestamps import format_timestamp

MAX_JOB_BYTES = 64 * 1024  # bytes of each job's lines
MAX_TOTAL_BYTES = 8 << 20  # bytes of all jobs' lines
MAX_EVENTS = 500
MAX_OUTPUT_CHARS = 500  # characters of a check's output, its end: it may have written 64 KiB
MAX_LAST_LINES = 10_000  # at most are told at once, which takes 0.1 s
MAX_FOLLOWERS = 16
MAX_QUEUE_BYTES = 256 * 1024  # bytes that wait for one follower
ENTRY_OVERHEAD_BYTES = 200  # bytes that an entry takes beside its text, about
CLOSE_TIMEOUT_S, STALLED_AFTER_S = (
    2.0,
    0.25,
)  # s that followers have at the end for what they have not read yet; without a sign of it


@dataclass(frozen=True, slots=True)
class LinesEntry:
    """What one read of a job's pipe brought: whole lines, joined by line ends. `time`: seconds since the epoch."""

    time: float
    job: str
    stream: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data) + ENTRY_OVERHEAD_BYTES

    @property
    def count(self) -> int:
        return self.data.count(b"\n") + 1

    def build_records(self, last: int | None = None) -> Iterator[dict[str, Any]]:
        """Of all its lines, or the `last` so many, at least one."""
        when = format_timestamp(self.time, digits=3)
        for line in self.data.split(b"\n") if last is None else self.data.rsplit(b"\n", last)[-last:]:
            text = line.decode(errors="replace").rstrip("\r")
            yield {"time": when, "job": self.job, "stream": self.stream, "line": text}


@dataclass(frozen=True, slots=True)
class EventEntry:
    """One fact and its time."""

    time: float
    event: Event
    count: ClassVar[int] = 1

    @property
    def size(self) -> int:
        return len(repr(self.event)) + 4 * ENTRY_OVERHEAD_BYTES

    def build_records(self) -> Iterator[dict[str, Any]]:
        level, sentence, _ = log_messages.describe_event(self.event) or ("debug", "", {})
        head = {
            "time": format_timestamp(self.time, digits=3),
            "event": type(self.event).__name__,
            "trigger": self.event.trigger_name or None,
        }
        yield {**head, "level": level, "says": sentence, **asdict(self.event)}


Entry = LinesEntry | EventEntry


class TooManyFollowersError(Exception):
    """FOLLOWERS follow already."""


class Follower:
    """What came since, as records; a record `{"lost": n}` stands where n lines or facts had no room."""

    def __init__(self, accepts: Callable[[Entry], bool]) -> None:
        self._accepts = accepts
        self._queue: deque[Entry] = deque()
        self._queued_bytes = 0
        self._lost_count = 0
        self.taken_count = 0  # entries
        self._changed = asyncio.Event()
        self._ended = False

    def offer(self, entry: Entry) -> None:
        if not self._accepts(entry):
            return
        if self._lost_count or self._queued_bytes + entry.size > MAX_QUEUE_BYTES:
            self._lost_count += entry.count
        else:
            self._queue.append(entry)
            self._queued_bytes += entry.size
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    async def wait_for_records(self) -> list[dict[str, Any]]:
        """What has come; waits for something. Empty: nothing will come any more."""
        while not self._queue and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        records = []
        if self._queue:
            entry = self._queue.popleft()
            self.taken_count += 1
            self._queued_bytes -= entry.size
            records = list(entry.build_records())
        if not self._queue and self._lost_count:
            records.append({"lost": self._lost_count})
            self._lost_count = 0
        return records


class Journal:
    def __init__(self, jobs: Collection[str]) -> None:
        self._lines_by_job: dict[str, deque[LinesEntry]] = {}
        self._bytes_by_job: dict[str, int] = {}
        self._events: deque[EventEntry] = deque(maxlen=MAX_EVENTS)
        self._followers: set[Follower] = set()
        self._no_followers = asyncio.Event()  # nobody follows any more
        self.set_jobs(jobs)

    def set_jobs(self, jobs: Collection[str]) -> None:
        """The jobs that share the memory from now on; what others wrote is forgotten."""
        self._max_job_bytes = min(MAX_JOB_BYTES, MAX_TOTAL_BYTES // max(1, len(jobs)))
        for job in self._lines_by_job.keys() - set(jobs):
            del self._lines_by_job[job], self._bytes_by_job[job]

    # --- told ---

    def add_lines(self, job: str, stream: str, lines: list[bytes]) -> None:
        """On the way of every line that a job writes: it copies once, and no more."""
        data = b"\n".join(lines)
        if len(data) > self._max_job_bytes:
            data = data[-self._max_job_bytes :].partition(b"\n")[2] or data[-self._max_job_bytes :]
        entry = LinesEntry(time.time(), job, stream, data)
        kept = self._lines_by_job.setdefault(job, deque())
        kept.append(entry)
        size = self._bytes_by_job.get(job, 0) + entry.size
        while size > self._max_job_bytes and len(kept) > 1:
            size -= kept.popleft().size
        self._bytes_by_job[job] = size
        self._offer(entry)

    def on_event(self, event: Event) -> None:
        """All but the checks that pass: they say that nothing has happened."""
        if isinstance(event, CheckFailed | Unhealthy):
            event = replace(event, output=event.output.rstrip()[-MAX_OUTPUT_CHARS:])
        if not isinstance(event, CheckPassed):
            happened = EventEntry(time.time(), event)
            self._events.append(happened)
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
        for _ in range(round(CLOSE_TIMEOUT_S / STALLED_AFTER_S)):
            before = self._count_taken()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._no_followers.wait(), STALLED_AFTER_S)
            if not self._followers or self._count_taken() == before:
                break

    def _count_taken(self) -> int:
        return sum(follower.taken_count for follower in self._followers)

    # --- asked ---

    def get_last_lines(self, job: str | None, count: int) -> list[dict[str, Any]]:
        """The last `count` lines of the job, or of all, at most LAST_LINES, oldest first."""
        count = min(count, MAX_LAST_LINES)
        chosen: list[LinesEntry] = []
        for name, kept in self._lines_by_job.items():
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
            told.append(list(entry.build_records(count)))
            count -= len(told[-1])
        return [record for records in reversed(told) for record in records]

    def get_last_events(self, count: int) -> list[dict[str, Any]]:
        """The last `count` facts, oldest first."""
        chosen = list(self._events)[-count:] if count else []
        return [record for happened in chosen for record in happened.build_records()]

    async def follow_lines(self, job: str | None, count: int) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The last lines, then each that comes. Raises TooManyFollowers at its first step: ask `full` before."""
        with self.add_follower(lambda entry: isinstance(entry, LinesEntry) and job in (None, entry.job)) as follower:
            yield self.get_last_lines(job, count)
            while records := await follower.wait_for_records():
                yield records

    async def follow_events(self, count: int) -> AsyncGenerator[list[dict[str, Any]], None]:
        with self.add_follower(lambda entry: isinstance(entry, EventEntry)) as follower:
            yield self.get_last_events(count)
            while records := await follower.wait_for_records():
                yield records

    @property
    def full(self) -> bool:
        """Nobody more can follow."""
        return len(self._followers) >= MAX_FOLLOWERS

    @contextmanager
    def add_follower(self, accepts: Callable[[Entry], bool]) -> Iterator[Follower]:
        """Raises TooManyFollowers."""
        if self.full:
            raise TooManyFollowersError
        follower = Follower(accepts)
        self._followers.add(follower)
        self._no_followers.clear()
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            if not self._followers:
                self._no_followers.set()
