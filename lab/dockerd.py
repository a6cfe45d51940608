"""A Docker engine of our own, which a test may crash and start again.

It shares the machine's network, so that it reaches the lab's registry on loopback; its containers have none.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import system_packages
from lab.cache import create_run_folder
from lab.docker_engine import BUILDER_OPTIONS, Engine
from lab.lab_errors import LabError
from lab.survivors import kill_processes


@dataclass
class DockerDaemon:
    """Runs from `start` to `stop` or `crash`; what it stored stays."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return f"{self.folder}/docker.sock"

    @property
    def engine(self) -> Engine:
        return Engine(f"unix://{self.socket}")

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    *("unshare", "--mount", "setpriv", "--pdeathsig", "TERM"),
                    *("dockerd", "--host", f"unix://{self.socket}", "--data-root", f"{self.folder}/data"),
                    *("--exec-root", f"{self.folder}/exec", "--pidfile", f"{self.folder}/pid", *BUILDER_OPTIONS),
                    "--max-download-attempts=1",  # else a broken download is tried for a minute
                ],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 60
        while not self.engine.is_reachable():
            if self.process.poll() is not None or time.monotonic() > end:
                raise LabError(f"cannot start dockerd: {(self.folder / 'log').read_text().strip()[-500:]}")
            time.sleep(0.1)  # its socket notifies nobody

    def stop(self) -> None:
        """In good order: its containers are stopped, too."""
        self._stop_with_signal(signal.SIGTERM)

    def crash(self) -> None:
        """As when the host's power fails: engine, containers and all that is in /run are gone at once."""
        self._stop_with_signal(signal.SIGKILL)
        kill_processes(f"{self.folder}/exec")  # the shims that hold its containers outlive it
        shutil.rmtree(self.folder / "exec", ignore_errors=True)
        (self.folder / "pid").unlink(missing_ok=True)

    def _stop_with_signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None


@contextmanager
def start_docker_daemon() -> Iterator[DockerDaemon]:
    system_packages.ensure_programs("dockerd", "unshare", "setpriv")
    with create_run_folder() as folder:
        found = DockerDaemon(folder)
        found.start()
        try:
            yield found
        finally:
            if found.process is None:
                found.start()  # it alone can take its containers and mounts away
            names = found.engine.run("ps", "--all", "--quiet").split()
            if names:
                found.engine.run("rm", "--force", "--volumes", *names)
            found.stop()
