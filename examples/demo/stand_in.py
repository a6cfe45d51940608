"""The same life without HTCondor: the supervisor as a plain process, and a stand-in for the batch system."""

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
from examples.demo.life import DemoNode
from examples.demo.timeline import Timeline
from lab.lab_errors import LabError

HERE = Path(__file__).parent


class StandInNode(DemoNode):
    queue_name = "stand-in"

    def __init__(self, timeline: Timeline, lifetime: float) -> None:
        self._timeline, self._lifetime = timeline, lifetime

    def __enter__(self) -> Self:
        self._timeline.print_text(f"Compressed: it lives {self._lifetime} s where a site says a day.")
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
        return ask(self._socket, "status") is not None

    def submit(self, seconds: float) -> str:
        answer = ask(self._socket, f"submit {seconds:g}")
        if answer is None:
            raise LabError("the stand-in batch worker is gone")
        return answer

    def get_job_status(self, job: str) -> str:
        return str(json.loads(get_journal_path(self._socket).read_text())[job])

    def is_draining(self) -> bool:
        return ask(self._socket, "status") == "draining"

    def has_free_slot(self) -> bool:
        return True

    def read_log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def get_exit_code(self) -> int | None:
        return self._supervisor.poll()

    def read_last_words(self) -> str:
        file = self._folder / "state" / "last-words.json"
        return file.read_text() if file.exists() else ""
