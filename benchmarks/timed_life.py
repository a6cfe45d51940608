"""Run one life of one supervisor and take its times."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from benchmarks import process_figures
from benchmarks.marks import MarkReader
from benchmarks.supervised_program import Program
from lab.lab_errors import LabError

# the caller's own settings of Python and of supervisors would change the figures
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
NAMESPACE_COMMAND = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


class TimedLife:
    """Life of a supervisor from its start to the end of the `with` block, which kills everything left of it.

    Attributes:
        marks: marks of the supervised programs.
        exec_at_ns: time just before the supervisor's exec (CLOCK_MONOTONIC).
        pid: the supervisor's pid.
    """

    def __init__(
        self,
        program: Program,
        command: Sequence[str],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        pid_1: bool = False,
    ) -> None:
        self._program = program
        self.marks = MarkReader(folder / "marks")
        self._stderr_file = folder / "stderr"
        environment = {**ENVIRONMENT, **(env or {})}
        self._reader = subprocess.Popen(
            program.build_command("count", self.marks.path), stdin=subprocess.PIPE, env=ENVIRONMENT
        )
        assert self._reader.stdin is not None
        launch = program.build_command("launch", self.marks.path, *command)
        with self._reader.stdin as log, self._stderr_file.open("wb") as errors:
            self._process = subprocess.Popen(
                [*NAMESPACE_COMMAND, *launch] if pid_1 else launch,
                stdin=subprocess.DEVNULL, stdout=log, stderr=errors, env=environment, cwd=folder,
            )  # fmt: skip
        try:
            self.exec_at_ns = self.marks.wait("exec")[0].at_ns
            self.pid = process_figures.list_process_tree(self._process.pid)[1] if pid_1 else self._process.pid
            self._pidfd = os.pidfd_open(self.pid)
        except BaseException:
            self._process.kill()
            self._reader.kill()
            raise

    # --- look ---

    def list_jobs(self) -> list[int]:
        """Return the pids of the supervised programs, as seen from outside."""
        prefix = list(self._program.argv)
        return [
            pid
            for pid in process_figures.list_process_tree(self.pid)
            if process_figures.read_argv(pid)[: len(prefix)] == prefix
        ]

    def list_supervisor_processes(self) -> list[int]:
        """Return the pids of the supervisor and its helpers, without the jobs."""
        jobs = set(self.list_jobs())
        return [
            pid
            for pid in process_figures.list_process_tree(self.pid)
            if pid not in jobs and process_figures.read_argv(pid)
        ]

    def wait_until_quiet(self) -> None:
        """Wait until the supervisor and its jobs are idle."""
        process_figures.wait_until_quiet(self.pid)

    # --- act ---

    def send_signal(self, number: int) -> int:
        """Signal the supervisor and return the time just before (ns)."""
        before = time.monotonic_ns()
        signal.pidfd_send_signal(self._pidfd, number)
        return before

    def wait_for_exit(self, timeout: float = 30.0) -> int:
        """Wait for the supervisor's end and return the time just after (ns)."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        if not poller.poll(timeout * 1000):
            raise LabError(f"still runs after {timeout:g} s")
        return time.monotonic_ns()

    def read_stderr(self) -> str:
        """Return the end of the supervisor's stderr."""
        return self._stderr_file.read_text(errors="replace").strip()[-500:]

    # --- end ---

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in reversed(process_figures.list_process_tree(self._process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        try:
            self._reader.wait(5)
        except subprocess.TimeoutExpired:  # another process still has the log open
            self._reader.kill()
            self._reader.wait()
        os.close(self._pidfd)
        self.marks.close()
