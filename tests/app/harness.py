"""A real supervisor in a child process, and what it says, as it says it."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

PATIENCE = 20.0  # s; how long a test waits for what must happen


class Pilot:
    """Runs `spec` (a dict, or the text of a config). Its log is read as it comes, unless `read` is False."""

    def __init__(
        self, place: Path, spec: dict[str, Any] | str, *, read: bool = True, env: dict[str, str] | None = None
    ) -> None:
        self.place = place
        self.state = place / "state"
        self.config = place / "autopilot.json5"
        self.write(spec)
        self.process = subprocess.Popen(
            self.command(self.config),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if read else subprocess.DEVNULL,
            env={**os.environ, "AUTOPILOT_STATE": str(self.state), **(env or {})},
            start_new_session=True,
        )
        self.lines: list[dict[str, Any]] = []
        self.complaints = ""
        self._over = False  # it has said all that it will ever say
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        if read:
            self._reader.start()

    def command(self, config: Path) -> list[str]:
        return [sys.executable, "-m", "autopilot", "run", str(config)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            for _ in range(2):  # the second SIGTERM hurries: nothing of a failed test may be left running
                self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        if self._reader.is_alive():
            self._reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        for raw in self.process.stdout:
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"event": raw.decode(errors="replace").rstrip("\n")}
            line["arrived"] = time.monotonic()
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        self.complaints = self.process.stderr.read().decode()
        with self._news:
            self._over = True
            self._news.notify_all()

    # --- what it says ---

    def wait_for(
        self, seen: Callable[[dict[str, Any]], bool], *, since: int = 0, patience: float = PATIENCE
    ) -> dict[str, Any]:
        """The first line, from number `since` on, of which `seen` is true."""
        until = time.monotonic() + patience
        with self._news:
            checked = since
            while True:
                for line in self.lines[checked:]:
                    if seen(line):
                        return line
                checked = len(self.lines)
                left = until - time.monotonic()
                if left <= 0 or self._over:
                    said = "\n".join(map(str, self.lines[-30:]))
                    raise AssertionError(f"never said; it said:\n{said}\n{self.complaints}")
                self._news.wait(left)

    def wait_event(self, job: str, event: str, *, since: int = 0) -> dict[str, Any]:
        return self.wait_for(lambda line: line.get("job") == job and line["event"].startswith(event), since=since)

    def output(self, job: str) -> list[str]:
        """What the job wrote."""
        return [line["event"] for line in self.lines if line.get("job") == job and "stream" in line]

    def events(self, text: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if "stream" not in line and text in line["event"]]

    # --- what is done to it ---

    def write(self, spec: dict[str, Any] | str) -> None:
        self.config.write_text(spec if isinstance(spec, str) else json.dumps(spec))

    def reload(self, spec: dict[str, Any] | str, *options: str) -> subprocess.CompletedProcess[str]:
        """`autopilot reload` after the job spec has become this one."""
        self.write(spec)
        return self.ask("reload", *options)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Its exit code; all that it said is in `lines` then."""
        code = self.process.wait(patience)
        if self._reader.is_alive():
            self._reader.join(patience)
        return code

    def stop(self) -> int:
        self.signal()
        return self.wait()

    def words(self) -> dict[str, Any]:
        words: dict[str, Any] = json.loads((self.state / "last-words.json").read_text())
        return words

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command line against it."""
        return subprocess.run(
            [sys.executable, "-m", "autopilot", *arguments],
            env={**os.environ, "AUTOPILOT_STATE": str(self.state)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.ask("status", "-o", "json").stdout)
        return shown

    def pids(self) -> dict[str, int | None]:
        """Of each job's leader."""
        return {job["name"]: job["pid"] for job in self.status()["jobs"]}

    def restart_delay(self, job: str, times: int = 5) -> float:
        """Seconds from a kill -9 of the job to its next start, the median of several."""
        delays = []
        for _ in range(times):
            started = [line for line in self.lines if line.get("job") == job and line["event"] == "started"]
            since, killed_at = len(self.lines), time.monotonic()
            os.kill(started[-1]["pid"], signal.SIGKILL)
            delays.append(self.wait_event(job, "started", since=since)["arrived"] - killed_at)
        return statistics.median(delays)

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def eventually(holds: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """For what nobody notifies of: files and processes of others."""
    until = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.005)


# a job that is restarted at once, to see who delays it
VICTIM = {
    "name": "victim",
    "exec": ["sleep", "1000"],
    "restarts": "unlimited",
    "backoff": {"initial": "1ms", "max": "1ms"},
}
