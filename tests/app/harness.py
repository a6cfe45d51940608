"""Run a real supervisor in a child process and read its log as it is written."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from lab.ports import find_free_port

__all__ = ["PROMPT_S", "TIMEOUT_S", "VICTIM", "SupervisorProcess", "eventually", "find_free_port", "shell"]

TIMEOUT_S = 60.0  # s; how long a test waits for what must happen, on a busy machine too
# s; what waits for nobody takes a tenth of it on an idle machine; what is held up takes far longer, or never ends
PROMPT_S = 4.0


class SupervisorProcess:
    """A supervisor that runs `spec` (a dict, or the text of a job spec); its log is read unless `read` is False."""

    def __init__(
        self, place: Path, spec: dict[str, Any] | str, *, read: bool = True, env: dict[str, str] | None = None
    ) -> None:
        self.place = place
        self.state = place / "state"
        self.config = place / "autopilot.json5"
        self.write_spec(spec)
        self.process = subprocess.Popen(
            self.build_command(self.config),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if read else subprocess.DEVNULL,
            env={**os.environ, "AUTOPILOT_STATE": str(self.state), **(env or {})},
            start_new_session=True,
        )
        self.lines: list[dict[str, Any]] = []
        self.stderr_text = ""
        self._output_ended = False  # its output has ended
        self._output_changed = threading.Condition()
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        if read:
            self._reader.start()

    def build_command(self, config: Path) -> list[str]:
        return [sys.executable, "-m", "autopilot", "run", str(config)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            for _attempt in range(2):  # the second SIGTERM hurries: no process of a failed test may remain
                self.process.terminate()
            try:
                self.process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        if self._reader.is_alive():
            self._reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _read_output(self) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        for raw in self.process.stdout:
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"message": raw.decode(errors="replace").rstrip("\n")}
            line["arrived"] = time.monotonic()
            with self._output_changed:
                self.lines.append(line)
                self._output_changed.notify_all()
        self.stderr_text = self.process.stderr.read().decode()
        with self._output_changed:
            self._output_ended = True
            self._output_changed.notify_all()

    # --- its log ---

    def wait_for(
        self, predicate: Callable[..., bool], *, since: int = 0, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """Wait for the first line, from number `since` on, that `predicate` is true for, and return it."""
        deadline = time.monotonic() + timeout_s
        with self._output_changed:
            checked = since
            while True:
                for line in self.lines[checked:]:
                    if predicate(line):
                        return line
                checked = len(self.lines)
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._output_ended:
                    last_lines = "\n".join(map(str, self.lines[-30:]))
                    raise AssertionError(f"no such line; the last ones:\n{last_lines}\n{self.stderr_text}")
                self._output_changed.wait(remaining)

    def wait_for_event(self, job: str, event: str, *, since: int = 0) -> dict[str, Any]:
        """Wait for a line about `job` with a message that begins with `event`, and return it."""
        return self.wait_for(lambda line: line.get("job") == job and line["message"].startswith(event), since=since)

    def list_job_output(self, job: str) -> list[str]:
        """Return the lines that the job wrote."""
        return [line["message"] for line in self.lines if line.get("job") == job and "stream" in line]

    def find_events(self, text: str) -> list[dict[str, Any]]:
        """Return the supervisor's own lines that contain `text`."""
        return [line for line in self.lines if "stream" not in line and text in line["message"]]

    # --- control ---

    def write_spec(self, spec: dict[str, Any] | str) -> None:
        self.config.write_text(spec if isinstance(spec, str) else json.dumps(spec))

    def reload(self, spec: dict[str, Any] | str, *options: str) -> subprocess.CompletedProcess[str]:
        """Write `spec` as the job spec and run `autopilot reload`."""
        self.write_spec(spec)
        return self.run_verb("reload", *options)

    def send_signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for its end and return its exit code; `lines` is complete then."""
        code = self.process.wait(timeout_s)
        if self._reader.is_alive():
            self._reader.join(timeout_s)
        return code

    def stop(self) -> int:
        self.send_signal()
        return self.wait()

    def read_last_words(self) -> dict[str, Any]:
        words: dict[str, Any] = json.loads((self.state / "last-words.json").read_text())
        return words

    def run_verb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command line against it and return the finished process."""
        return subprocess.run(
            [sys.executable, "-m", "autopilot", *arguments],
            env={**os.environ, "AUTOPILOT_STATE": str(self.state)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def get_status(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.run_verb("status", "-o", "json").stdout)
        return shown

    def get_pids(self) -> dict[str, int | None]:
        """Return the process id of each job's leader."""
        return {job["name"]: job["pid"] for job in self.get_status()["jobs"]}

    def measure_restart_delay(self, job: str, times: int = 5) -> float:
        """Return the seconds from a SIGKILL of the job to its next start, the median of several."""
        delays = []
        for _ in range(times):
            started = [line for line in self.lines if line.get("job") == job and line["message"] == "started"]
            since, killed_at = len(self.lines), time.monotonic()
            os.kill(started[-1]["pid"], signal.SIGKILL)
            delays.append(self.wait_for_event(job, "started", since=since)["arrived"] - killed_at)
        return statistics.median(delays)

    def measure_memory(self) -> int:
        """Return its resident memory in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def eventually(
    predicate: Callable[..., bool], description: str, timeout_s: float = TIMEOUT_S, *, interval_s: float = 0.005
) -> None:
    """Wait until `predicate` is true, where no notification exists: for files and processes of others."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline, f"never: {description}"
        time.sleep(interval_s)


# a job that is restarted at once, to see who delays it
VICTIM = {
    "name": "victim",
    "exec": ["sleep", "1000"],
    "restarts": "unlimited",
    "backoff": {"initial": "1ms", "max": "1ms"},
}
