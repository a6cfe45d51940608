"""Keep the last output lines of each job and the last events in memory, and let clients follow them.

Everything is bounded, for a supervisor's memory is the node's: MAX_JOB_BYTES for each job (less when there are so many
jobs that MAX_TOTAL_BYTES would be exceeded), MAX_EVENTS events, MAX_FOLLOWERS followers, MAX_QUEUE_BYTES waiting for
each of them. A follower that reads too slowly loses entries and gets their number; no job ever waits.
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
from autopilot.errors import AutopilotError
from autopilot.machines.events import CheckFailed, CheckPassed, Event, Unhealthy
from autopilot.timestamps import format_timestamp

MAX_JOB_BYTES = 64 * 1024  # of each job's lines
MAX_TOTAL_BYTES = 8 << 20  # of all jobs' lines
MAX_EVENTS = 500
MAX_OUTPUT_CHARS = 500  # of the end of a check's output, which may have 64 KiB
MAX_LAST_LINES = 10_000  # in one answer, which takes 0.1 s
MAX_FOLLOWERS = 16
MAX_QUEUE_BYTES = 256 * 1024  # waiting for one follower
ENTRY_OVERHEAD_BYTES = 200  # of memory for an entry beside its text, about
CLOSE_TIMEOUT_S = 2.0  # for followers to read the rest of their queues at the end of the life
STALLED_AFTER_S = 0.25  # without reading: then the end no longer waits for followers


@dataclass(frozen=True, slots=True)
class LinesEntry:
    """Lines from one read of a job's pipe, joined by line ends.

    `time` is in seconds since the epoch.
    """

    time: float
    job: str
    stream: str
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of memory that the entry takes, about."""
        return len(self.data) + ENTRY_OVERHEAD_BYTES

    @property
    def count(self) -> int:
        """Number of lines."""
        return self.data.count(b"\n") + 1

    def build_records(self, last: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield one record for each line, or for the `last` so many lines (at least one)."""
        timestamp = format_timestamp(self.time, digits=3)
        for line in self.data.split(b"\n") if last is None else self.data.rsplit(b"\n", last)[-last:]:
            text = line.decode(errors="replace").rstrip("\r")
            yield {"time": timestamp, "job": self.job, "stream": self.stream, "line": text}


@dataclass(frozen=True, slots=True)
class EventEntry:
    """An event and its time, in seconds since the epoch."""

    time: float
    event: Event
    count: ClassVar[int] = 1

    @property
    def size(self) -> int:
        """Bytes of memory that the entry takes, about."""
        return len(repr(self.event)) + 4 * ENTRY_OVERHEAD_BYTES

    def build_records(self) -> Iterator[dict[str, Any]]:
        """Yield the event's one record, with its sentence in `says`."""
        level, sentence, _ = log_messages.describe_event(self.event) or ("debug", "", {})
        head = {
            "time": format_timestamp(self.time, digits=3),
            "event": type(self.event).__name__,
            "trigger": self.event.trigger_name or None,
        }
        yield {**head, "level": level, "says": sentence, **asdict(self.event)}


Entry = LinesEntry | EventEntry


class TooManyFollowersError(AutopilotError):
    """There are MAX_FOLLOWERS followers already."""


class Follower:
    """A bounded queue of new entries; a record `{"lost": n}` stands where n lines or events had no room."""

    def __init__(self, accepts: Callable[[Entry], bool]) -> None:
        self._accepts = accepts
        self._queue: deque[Entry] = deque()
        self._queued_bytes = 0
        self._lost_count = 0
        self.taken_count = 0  # entries
        self._changed = asyncio.Event()
        self._ended = False

    def offer(self, entry: Entry) -> None:
        """Queue `entry` if this follower accepts it, or count it as lost while there is no room."""
        if not self._accepts(entry):
            return
        if self._lost_count or self._queued_bytes + entry.size > MAX_QUEUE_BYTES:
            self._lost_count += entry.count
        else:
            self._queue.append(entry)
            self._queued_bytes += entry.size
        self._changed.set()

    def end(self) -> None:
        """Announce that no entry follows the queued ones."""
        self._ended = True
        self._changed.set()

    async def wait_for_records(self) -> list[dict[str, Any]]:
        """Wait for records and return them; an empty list means that no more will come."""
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
    """The recent past of one life, and its followers."""

    def __init__(self, jobs: Collection[str]) -> None:
        self._lines_by_job: dict[str, deque[LinesEntry]] = {}
        self._bytes_by_job: dict[str, int] = {}
        self._events: deque[EventEntry] = deque(maxlen=MAX_EVENTS)
        self._followers: set[Follower] = set()
        self._no_followers = asyncio.Event()
        self.set_jobs(jobs)

    def set_jobs(self, jobs: Collection[str]) -> None:
        """Share the memory between `jobs` from now on; lines of other jobs are dropped."""
        self._max_job_bytes = min(MAX_JOB_BYTES, MAX_TOTAL_BYTES // max(1, len(jobs)))
        for job in self._lines_by_job.keys() - set(jobs):
            del self._lines_by_job[job], self._bytes_by_job[job]

    # --- input ---

    def add_lines(self, job: str, stream: str, lines: list[bytes]) -> None:
        """Keep lines of a job's output. This is on the path of every line, so it copies them only once."""
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
        """Keep `event`, unless it is a passed check: then nothing has changed."""
        if isinstance(event, CheckFailed | Unhealthy):
            event = replace(event, output=event.output.rstrip()[-MAX_OUTPUT_CHARS:])
        if not isinstance(event, CheckPassed):
            entry = EventEntry(time.time(), event)
            self._events.append(entry)
            self._offer(entry)

    def _offer(self, entry: Entry) -> None:
        for follower in self._followers:
            follower.offer(entry)

    async def close(self) -> None:
        """End all followers, and give them CLOSE_TIMEOUT_S to read the rest of their queues."""
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

    # --- output ---

    def get_last_lines(self, job: str | None, count: int) -> list[dict[str, Any]]:
        """Return records of the last lines, oldest first.

        Args:
            job: The job's name; None for the lines of all jobs.
            count: Number of lines, at most MAX_LAST_LINES.

        Returns:
            Records with `time`, `job`, `stream` and `line`.
        """
        count = min(count, MAX_LAST_LINES)
        chosen: list[LinesEntry] = []
        for name, kept in self._lines_by_job.items():
            if job in (None, name):
                missing = count
                for entry in reversed(kept):
                    if missing <= 0:
                        break
                    chosen.append(entry)
                    missing -= entry.count
        chosen.sort(key=lambda entry: entry.time, reverse=True)
        newest_first: list[list[dict[str, Any]]] = []
        for entry in chosen:
            if count <= 0:
                break
            newest_first.append(list(entry.build_records(count)))
            count -= len(newest_first[-1])
        return [record for records in reversed(newest_first) for record in records]

    def get_last_events(self, count: int) -> list[dict[str, Any]]:
        """Return records of the last `count` events, oldest first."""
        chosen = list(self._events)[-count:] if count else []
        return [record for entry in chosen for record in entry.build_records()]

    async def follow_lines(self, job: str | None, count: int) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Yield records of the last `count` lines, then of each new line.

        Args:
            job: The job's name; None for the lines of all jobs.
            count: Number of past lines.

        Yields:
            Lists of records, as `get_last_lines` returns them.

        Raises:
            TooManyFollowersError: At the first step; look at `full` before.
        """
        with self.add_follower(lambda entry: isinstance(entry, LinesEntry) and job in (None, entry.job)) as follower:
            yield self.get_last_lines(job, count)
            while records := await follower.wait_for_records():
                yield records

    async def follow_events(self, count: int) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Yield records of the last `count` events, then of each new event; raise as `follow_lines` does."""
        with self.add_follower(lambda entry: isinstance(entry, EventEntry)) as follower:
            yield self.get_last_events(count)
            while records := await follower.wait_for_records():
                yield records

    @property
    def is_full(self) -> bool:
        """True while there is no room for another follower."""
        return len(self._followers) >= MAX_FOLLOWERS

    @contextmanager
    def add_follower(self, accepts: Callable[[Entry], bool]) -> Iterator[Follower]:
        """Provide a follower of the entries that `accepts` is true for.

        Raises:
            TooManyFollowersError: There are MAX_FOLLOWERS already.
        """
        if self.is_full:
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
