"""Tell the site of events: run its program with one event as JSON on standard input.

A thread of its own runs the programs one after another, so that none delays a pass. The queue, the time of each program
and the time at the end of our process are bounded.
"""

from __future__ import annotations

import atexit
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping

from autopilot_watchdog.bounded_command import run_bounded_command
from autopilot_watchdog.config.config_model import NotifyConfig
from autopilot_watchdog.config.placeholders import fill_placeholders
from autopilot_watchdog.display_text import show_controls
from autopilot_watchdog.sentence_parts import describe_failed_command

MAX_WAITING_EVENTS = 100
MAX_OUTPUT_BYTES = 1 << 12
CLOSE_LIMIT_S = 60.0  # for the events that wait when our process ends


class Notifier:
    """Runner of the site's program."""

    def __init__(self, settings: NotifyConfig, host: str, report_failure: Callable[[str], None]) -> None:
        """Start no thread yet.

        Args:
            settings: The program, its time limit and the events it is told.
            host: The host's name, a field of each event.
            report_failure: Called with a sentence about a program that failed, in the notifier's thread.
        """
        self._settings = settings
        self._host = host
        self._report_failure = report_failure
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue(MAX_WAITING_EVENTS)  # events with their documents
        self._thread: threading.Thread | None = None

    def offer(self, entry: Mapping[str, object]) -> None:
        """Take an audit entry, if the site wants it; never wait, and drop it if too many are waiting."""
        if entry["event"] not in self._settings.events:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="notifier")
            self._thread.start()
            atexit.register(self.close)
        try:
            self._waiting.put_nowait((str(entry["event"]), f"{json.dumps({'host': self._host, **entry})}\n"))
        except queue.Full:
            self._report_failure(f"{MAX_WAITING_EVENTS} events wait for {self._settings.exec[0]}; one more was dropped")

    def close(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Wait until every event was told, at most so many seconds."""
        end = time.monotonic() + limit_s
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks and time.monotonic() < end:
                self._waiting.all_tasks_done.wait(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while True:
            event, document = self._waiting.get()
            try:
                self._run_program(event, document)
            finally:
                self._waiting.task_done()

    def _run_program(self, event: str, document: str) -> None:
        program = self._settings.exec[0]
        values = {"event": event, "host": self._host}
        words = [fill_placeholders(word, values) for word in self._settings.exec]
        try:
            done = run_bounded_command(words, timeout=self._settings.timeout, text=document, max_bytes=MAX_OUTPUT_BYTES)
        except OSError as error:
            self._report_failure(f"cannot tell {program} of an event: {error}")
            return
        if done.status:
            sentence = describe_failed_command(program, done.status, done.error_output.strip() or done.output)
            self._report_failure(show_controls(sentence))
