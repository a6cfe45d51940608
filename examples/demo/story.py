"""Tell the story: a node takes a job, reaches its lifetime, finishes the job, refuses the next, and exits 0."""

from __future__ import annotations

import time
from collections.abc import Callable

from examples.demo.demo_node import DemoNode
from examples.demo.timeline import Timeline
from lab.lab_errors import LabError

JOIN_TIMEOUT_S, PHASE_TIMEOUT_S = 60, 100
FIRST_JOB_S = 40  # longer than the lifetime
POLL_INTERVAL_S = 0.2


def run_story(node: DemoNode, timeline: Timeline) -> int:
    """Follow the node's life to its end and return 0 if it went as expected, else 1."""
    return _StoryRunner(node, timeline).run()


class _StoryRunner:
    def __init__(self, node: DemoNode, timeline: Timeline) -> None:
        self._node, self._timeline = node, timeline
        self._job_statuses: dict[str, str] = {}

    def run(self) -> int:
        node = self._node
        self._wait_until(node.is_ready, JOIN_TIMEOUT_S, "the worker is ready")
        first = self._submit(FIRST_JOB_S, "outlives the node's lifetime")
        self._wait_until(node.is_draining, PHASE_TIMEOUT_S, "the lifetime ends")
        self._timeline.print_event(node.queue_name, "the node drains")
        free = node.has_free_slot()
        late = self._submit(5, "comes too late" + (", though a processor is free" if free else ""))
        self._wait_until(lambda: node.get_exit_code() is not None, PHASE_TIMEOUT_S, "the supervisor ends")
        return self._judge(first, late)

    def _submit(self, seconds: float, remark: str) -> str:
        job = self._node.submit(seconds)
        self._job_statuses[job] = ""
        self._timeline.print_event("you", f"submit job {job}, {seconds:g} s long: it {remark}")
        return job

    def _wait_until(self, predicate: Callable[[], bool], timeout_s: float, condition: str) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            code = self._node.get_exit_code()  # read first: an end after the predicate's call is not too early
            if predicate():
                break
            self._print_changes()
            if code is not None:
                raise LabError(f"the supervisor ended before {condition}: exit {code}")
            if time.monotonic() > deadline:
                raise LabError(f"not within {timeout_s} s: {condition}")
            time.sleep(POLL_INTERVAL_S)
        self._print_changes()

    def _print_changes(self) -> None:
        self._timeline.print_new_log_lines(self._node.read_log())
        for job, before in self._job_statuses.items():
            status = self._node.get_job_status(job)
            if status != before:
                self._timeline.print_event(self._node.queue_name, f"job {job} is {status}")
                self._job_statuses[job] = status

    def _judge(self, first: str, late: str) -> int:
        code = self._node.get_exit_code()
        self._timeline.print_event("you", f"the supervisor's exit code is {code}; its last words (last-words.json):")
        self._timeline.print_text(self._node.read_last_words().rstrip())
        statuses = self._job_statuses[first], self._job_statuses[late]
        if code == 0 and statuses == ("Completed", "Idle"):
            self._timeline.print_text(
                f"The node let job {first} finish, refused job {late} (it waits in the queue for another node), and",
                "ended by itself with exit code 0. A restarted container begins the next life.",
            )
            return 0
        self._timeline.print_text(f"This did not go as expected: {first} is {statuses[0]}, {late} is {statuses[1]}.")
        return 1
