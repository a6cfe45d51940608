"""Run a Docker engine that a test may crash and start again.

It shares the machine's network, so that it reaches the lab's registry on loopback; its containers have no network.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import system_packages
from lab.cache import create_run_folder
from lab.docker_engine import BUILDER_OPTIONS, Engine, await_dockerd, get_daemon_host, launch_dockerd
from lab.polling import BUSY_FACTOR
from lab.survivors import kill_processes


@dataclass
class DockerDaemon:
    """Engine that runs from `start` to `stop` or `crash`; its images and containers are kept."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        """Path of the engine's socket."""
        return get_daemon_host(self.folder).removeprefix("unix://")

    @property
    def engine(self) -> Engine:
        """Docker command for this engine."""
        return Engine(get_daemon_host(self.folder))

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        options = [*BUILDER_OPTIONS, "--max-download-attempts=1"]  # else a broken download is retried for a minute
        self.process = launch_dockerd(self.folder, self.folder / "data", options)
        await_dockerd(self.folder, self.process)

    def stop(self) -> None:
        """Stop the engine in good order, and with it its containers."""
        self._stop_with_signal(signal.SIGTERM)

    def crash(self) -> None:
        """Kill the engine and its containers and delete everything in /run, as a power failure of the host does."""
        self._stop_with_signal(signal.SIGKILL)
        kill_processes(f"{self.folder}/exec")  # the shims of its containers outlive it
        shutil.rmtree(self.folder / "exec", ignore_errors=True)
        (self.folder / "pid").unlink(missing_ok=True)

    def _stop_with_signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(BUSY_FACTOR * 60)
            self.process = None


@contextmanager
def start_docker_daemon() -> Iterator[DockerDaemon]:
    """Run an engine; at the end remove its containers and stop it."""
    system_packages.ensure_programs("dockerd", "unshare", "setpriv")
    with create_run_folder() as folder:
        daemon = DockerDaemon(folder)
        daemon.start()
        try:
            yield daemon
        finally:
            if daemon.process is None:
                daemon.start()  # only the engine can remove its containers and mounts
            names = daemon.engine.run("ps", "--all", "--quiet").split()
            if names:
                daemon.engine.run("rm", "--force", "--volumes", *names)
            daemon.stop()
