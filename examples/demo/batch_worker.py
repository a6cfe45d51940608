"""Stand in for a batch system's worker: take jobs, run two at a time, and be drained. This is not HTCondor.

`batch_worker.py serve SOCKET` runs it; `batch_worker.py ask SOCKET WORDS...` sends one request and prints the answer:

    submit SECONDS   queue a job that sleeps; prints its id
    status           idle, busy or draining
    drain            take no more jobs; running ones finish
    drained          yes or no, as exit code 0 or 1

The status of its jobs (Idle, Running, Completed) is in SOCKET.jobs, which remains after its end.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

SLOT_COUNT = 2


class Worker:
    """Queue and running jobs. One lock guards both and is never held for long."""

    def __init__(self, journal: Path) -> None:
        self._lock = threading.Lock()
        self._journal = journal
        self._jobs: dict[str, str] = {}  # id -> status
        self._seconds: dict[str, float] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._draining = False

    def answer(self, words: list[str]) -> str:
        """Process one request, given as words, and return the answer."""
        with self._lock:
            match words:
                case ["submit", seconds]:
                    return self._submit(float(seconds))
                case ["status"]:
                    return "draining" if self._draining else "busy" if self._running else "idle"
                case ["drain"]:
                    self._draining = True
                    return "draining"
                case ["drained"]:
                    return "yes" if self._draining and not self._running else "no"
        return "unknown request"

    def _submit(self, seconds: float) -> str:
        job = f"{len(self._jobs) + 1}.0"
        self._jobs[job] = "Idle"
        self._seconds[job] = seconds
        self._start_jobs()
        self._write_journal()
        return job

    def _start_jobs(self) -> None:
        for job, status in self._jobs.items():
            if status == "Idle" and not self._draining and len(self._running) < SLOT_COUNT:
                self._jobs[job] = "Running"
                self._running[job] = subprocess.Popen(["sleep", f"{self._seconds[job]:g}"])
                threading.Thread(target=self._wait_for_job, args=(job,), daemon=True).start()

    def _wait_for_job(self, job: str) -> None:
        code = self._running[job].wait()
        with self._lock:
            del self._running[job]
            self._jobs[job] = "Completed" if code == 0 else "Idle"
            self._start_jobs()
            self._write_journal()

    def stop(self) -> None:
        """End all running jobs and put them back into the queue."""
        with self._lock:
            self._draining = True
            for job, process in self._running.items():
                process.terminate()
                self._jobs[job] = "Idle"
            self._write_journal()

    def _write_journal(self) -> None:
        part = self._journal.with_suffix(".part")
        part.write_text(json.dumps(self._jobs))
        os.replace(part, self._journal)


def serve(path: Path) -> None:
    """Serve requests on the Unix socket `path` until SIGTERM."""
    worker = Worker(get_journal_path(path))

    def stop(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        try:
            while True:
                client, _ = server.accept()
                with client:
                    client.sendall(worker.answer(client.recv(1024).decode().split()).encode())
        finally:
            worker.stop()
            path.unlink(missing_ok=True)


def get_journal_path(path: Path) -> Path:
    """Return the path of the file with the status of all jobs."""
    return path.with_name(f"{path.name}.jobs")


def ask(path: Path, request: str) -> str | None:
    """Send one request and return the worker's answer; None if it does not answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(request.encode())
            return client.recv(1024).decode()
        except OSError:
            return None


def main() -> int:
    """Run the command line and return the exit code."""
    match sys.argv[1:]:
        case ["serve", path]:
            serve(Path(path))
            return 0
        case ["ask", path, *words] if words:
            answer = ask(Path(path), " ".join(words))
            print(answer or "the worker does not answer")
            return 0 if answer and answer != "no" else 1
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main())
