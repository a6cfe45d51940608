"""Run a real Podman API service with its own storage. It uses runc: crun refuses cgroups of both versions at once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import system_packages
from lab.cache import create_run_folder, detach_mounts_below
from lab.lab_errors import LabError
from lab.polling import BUSY_FACTOR, poll_until
from lab.survivors import kill_processes

CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
"""
STORAGE_CONF = """\
[storage]
driver = "overlay"
runroot = "{folder}/run"
graphroot = "{folder}/storage"
"""


@dataclass
class Podman:
    """Service that runs from `start` to `stop` or `crash`; its images and containers are kept."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        """Path of the service's socket."""
        return f"{self.folder}/podman.sock"

    def build_prefix(self) -> list[str]:
        """Return the beginning of a command line that runs a command as the service's user."""
        return []

    def build_environment(self) -> dict[str, str]:
        """Return the environment that makes podman use this service's folder only."""
        return {
            **os.environ,
            "CONTAINERS_CONF": f"{self.folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf",
            "CONTAINERS_REGISTRIES_CONF": f"{self.folder}/registries.conf",
            "TMPDIR": str(self.folder),
        }

    def run(self, *words: str, check: bool = True) -> str:
        """Run one podman command on the same storage and return its standard output.

        Raises:
            LabError: the command failed and `check` is set.
        """
        done = subprocess.run(
            [*self.build_prefix(), "podman", *words],
            capture_output=True,
            text=True,
            check=False,
            env=self.build_environment(),
            timeout=BUSY_FACTOR * 60,
        )
        if check and done.returncode != 0:
            raise LabError(f"podman {' '.join(words[:2])} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def start(self) -> None:
        """Start the service and wait for its socket."""
        Path(self.socket).unlink(missing_ok=True)
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*self.build_prefix(), "podman", "system", "service", "--time=0", f"unix://{self.socket}"],
                stdout=log,
                stderr=log,
                env=self.build_environment(),
            )
        poll_until(
            Path(self.socket).exists,
            30,
            lambda _: f"cannot start podman: {(self.folder / 'log').read_text().strip()[-500:]}",
            process=self.process,
        )

    def crash(self) -> None:
        """Kill the service and its containers and delete everything in /run, as a power failure of the host does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(BUSY_FACTOR * 30)
            self.process = None
        kill_processes(f"{self.folder}/")
        detach_mounts_below(self.folder)
        for volatile in ("run", "tmp"):  # Podman recognizes a reboot by their absence
            shutil.rmtree(self.folder / volatile, ignore_errors=True)
        Path(self.socket).unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop the service; containers go on running."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(BUSY_FACTOR * 30)
            self.process = None
            Path(self.socket).unlink(missing_ok=True)


@contextmanager
def start_podman(*insecure_registries: str) -> Iterator[Podman]:
    """Run a service; at the end remove its containers and its folder, and end all its processes.

    Args:
        insecure_registries: registries without TLS. Podman does not trust loopback by default, as Docker does.
    """
    system_packages.ensure_programs("podman", "runc")
    with create_run_folder() as folder:
        (folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder))
        (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder))
        registries = "".join(
            f'[[registry]]\nlocation = "{address}"\ninsecure = true\n' for address in insecure_registries
        )
        (folder / "registries.conf").write_text(registries)
        podman = Podman(folder)
        podman.start()
        try:
            yield podman
        finally:
            # without --depend, a container stays whose network another one uses
            podman.run("rm", "--all", "--force", "--depend", "--time=0", "--volumes", check=False)
            podman.stop()
            kill_processes(f"{folder}/")  # conmon outlives a command in a container by minutes
            detach_mounts_below(folder)
