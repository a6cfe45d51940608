"""One life of one supervisor under the stopwatch."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks import process_figures
from benchmarks.marks import MarkReader
from lab.lab_errors import LabError

if TYPE_CHECKING:
    from benchmarks.supervised_program import Program

# the caller's own settings of Python and of supervisors change what is measured
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
NAMESPACE_COMMAND = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


class TimedLife:
    """Starts `command`; `begun` (ns) is the moment before its exec. All that is left of it dies with the context."""

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
        self._reader = subprocess.Popen(program("count", self.marks.path), stdin=subprocess.PIPE, env=ENVIRONMENT)
        assert self._reader.stdin is not None
        launch = program("launch", self.marks.path, *command)
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
        """Pids of the supervised programs, as seen from here."""
        prefix = list(self._program.argv)
        return [
            pid
            for pid in process_figures.list_process_tree(self.pid)
            if process_figures.read_argv(pid)[: len(prefix)] == prefix
        ]

    def list_supervisor_processes(self) -> list[int]:
        """The supervisor's own processes, its helpers among them."""
        jobs = set(self.list_jobs())
        return [
            pid
            for pid in process_figures.list_process_tree(self.pid)
            if pid not in jobs and process_figures.read_argv(pid)
        ]

    def wait_until_quiet(self) -> None:
        process_figures.wait_until_quiet(self.pid)

    # --- act ---

    def send_signal(self, number: int) -> int:
        """Signal the supervisor; returns the ns just before."""
        before = time.monotonic_ns()
        signal.pidfd_send_signal(self._pidfd, number)
        return before

    def wait_for_exit(self, timeout: float = 30.0) -> int:
        """Wait for the supervisor's end; returns the ns just after."""
        waiting = select.poll()
        waiting.register(self._pidfd, select.POLLIN)
        if not waiting.poll(timeout * 1000):
            raise LabError(f"still runs after {timeout:g} s")
        return time.monotonic_ns()

    def read_stderr(self) -> str:
        """What it wrote to stderr, the end of it."""
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
        except subprocess.TimeoutExpired:  # something still holds our log
            self._reader.kill()
            self._reader.wait()
        os.close(self._pidfd)
        self.marks.close()
