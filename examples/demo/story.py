"""The story: a node takes a job, reaches the end of its lifetime, finishes the job, refuses the next, and exits 0."""

from __future__ import annotations

import time
from collections.abc import Callable

from examples.demo.life import Life
from examples.demo.timeline import Timeline
from lab.errors import LabError

JOIN, LONGEST = 60, 100  # s
OUTLIVES = 40  # s: the first job's length, longer than the lifetime
LOOK = 0.2  # s


def tell(life: Life, timeline: Timeline) -> int:
    """Follow the life to its end. Returns 0 if it went as it should."""
    return _Teller(life, timeline).tell()


class _Teller:
    def __init__(self, life: Life, timeline: Timeline) -> None:
        self._life, self._timeline = life, timeline
        self._said: dict[str, str] = {}

    def tell(self) -> int:
        life = self._life
        self._until(life.ready, JOIN, "the worker is ready")
        first = self._submit(OUTLIVES, "outlives the node's lifetime")
        self._until(life.draining, LONGEST, "the lifetime ends")
        self._timeline.say(life.queue, "the node drains")
        free = life.free_slot()
        late = self._submit(5, "comes too late" + (", though a processor is free" if free else ""))
        self._until(lambda: life.exit_code() is not None, LONGEST, "the supervisor ends")
        return self._judge(first, late)

    def _submit(self, seconds: float, why: str) -> str:
        job = self._life.submit(seconds)
        self._said[job] = ""
        self._timeline.say("you", f"submit job {job}, {seconds:g} s long: it {why}")
        return job

    def _until(self, there: Callable[[], bool], limit: float, what: str) -> None:
        end = time.monotonic() + limit
        while True:
            code = self._life.exit_code()  # before the question: an end that comes after it is not too early
            if there():
                break
            self._look()
            if code is not None:
                raise LabError(f"the supervisor ended before {what}: exit {code}")
            if time.monotonic() > end:
                raise LabError(f"not within {limit} s: {what}")
            time.sleep(LOOK)
        self._look()

    def _look(self) -> None:
        self._timeline.follow(self._life.log())
        for job, before in self._said.items():
            status = self._life.job_status(job)
            if status != before:
                self._timeline.say(self._life.queue, f"job {job} is {status}")
                self._said[job] = status

    def _judge(self, first: str, late: str) -> int:
        code = self._life.exit_code()
        self._timeline.say("you", f"the supervisor's exit code is {code}; its last words (last-words.json):")
        self._timeline.head(self._life.last_words().rstrip())
        statuses = self._said[first], self._said[late]
        if code == 0 and statuses == ("Completed", "Idle"):
            self._timeline.head(
                f"The node let job {first} finish, refused job {late} (it waits in the queue for another node), and",
                "ended by itself with exit code 0. A restarted container begins the next life.",
            )
            return 0
        self._timeline.head(f"This did not go as it should: {first} is {statuses[0]}, {late} is {statuses[1]}.")
        return 1
