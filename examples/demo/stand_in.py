"""Run the node without HTCondor: the supervisor as a plain process, and a stand-in for the batch system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from examples.demo.batch_worker import ask, get_journal_path
from examples.demo.demo_node import DemoNode
from examples.demo.timeline import Timeline
from lab.lab_errors import LabError

HERE = Path(__file__).parent


class StandInNode(DemoNode):
    """Supervisor as a plain process, with `batch_worker.py` as its job."""

    queue_name = "stand-in"

    def __init__(self, timeline: Timeline, lifetime: float) -> None:
        self._timeline, self._lifetime = timeline, lifetime

    def __enter__(self) -> Self:
        self._timeline.print_text(f"Time is compressed: the node lives {self._lifetime} s; sites set a day or more.")
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            log = stack.enter_context((self._folder / "log").open("wb"))
            self._timeline.begin()
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "autopilot", "run", str(HERE / "stand-in.json5")],
                env={
                    **os.environ,
                    "AUTOPILOT_STATE": str(self._folder / "state"),
                    "LIFETIME": f"{self._lifetime}s",
                    "PYTHON": sys.executable,
                    "BATCH_WORKER": str(HERE / "batch_worker.py"),
                    "BATCH_SOCKET": str(self._socket),
                },
                stdout=log,
                stderr=log,
            )
            stack.callback(self._stop_supervisor)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _stop_supervisor(self) -> None:
        if self._supervisor.poll() is None:
            self._supervisor.send_signal(signal.SIGTERM)
            self._supervisor.wait(30)

    @property
    def _socket(self) -> Path:
        return self._folder / "batch.sock"

    def is_ready(self) -> bool:
        """Return True if the batch worker answers."""
        return ask(self._socket, "status") is not None

    def submit(self, seconds: float) -> str:
        """Queue a job of so many seconds and return its id."""
        answer = ask(self._socket, f"submit {seconds:g}")
        if answer is None:
            raise LabError("the stand-in batch worker does not answer")
        return answer

    def get_job_status(self, job: str) -> str:
        """Return the batch worker's status of a job, also after the worker's end."""
        return str(json.loads(get_journal_path(self._socket).read_text())[job])

    def is_draining(self) -> bool:
        """Return True if the batch worker reports that it drains."""
        return ask(self._socket, "status") == "draining"

    def has_free_slot(self) -> bool:
        """Return True: the second job finds only one of two slots taken."""
        return True

    def read_log(self) -> str:
        """Return the supervisor's output so far."""
        return (self._folder / "log").read_text(errors="replace")

    def get_exit_code(self) -> int | None:
        """Return the supervisor's exit code; None while it runs."""
        return self._supervisor.poll()

    def read_last_words(self) -> str:
        """Return the text of last-words.json; empty before it exists."""
        file = self._folder / "state" / "last-words.json"
        return file.read_text() if file.exists() else ""
