"""Use a Docker engine: the machine's own if one runs, else one started here.

The one started here has its own folder, socket and mount namespace. To build images it uses the machine's network
without a bridge or firewall rules; to run containers it gets a network namespace. So it leaves nothing on the
machine, and neither the machine's firewall nor its name servers affect a pool of containers.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.cache import create_run_folder, get_cache_folder, hold_lock
from lab.lab_errors import LabError
from lab.polling import BUSY_FACTOR, poll_until

BUILDER_OPTIONS = ["--bridge=none", "--iptables=false", "--ip6tables=false"]


class Engine:
    """Docker command against one engine; without `host`, against the command's default."""

    def __init__(self, host: str | None) -> None:
        self.socket = host.removeprefix("unix://") if host else "/var/run/docker.sock"
        self._docker = ["docker", *(["--host", host] if host else [])]

    def run(
        self, *words: str, timeout: float = 60, check: bool = True, stdin: str = "", include_stderr: bool = False
    ) -> str:
        """Run one docker command and return its standard output.

        Args:
            words: the command's words after `docker`.
            timeout: seconds after which the command is killed on an idle machine; a busy one is given more.
            check: fail when the exit code is not 0.
            stdin: text for its standard input.
            include_stderr: return its standard error too, mixed into the output.

        Raises:
            LabError: the command failed and `check` is set.
        """
        errors = subprocess.STDOUT if include_stderr else subprocess.PIPE
        done = subprocess.run(
            [*self._docker, *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
            timeout=BUSY_FACTOR * timeout,
            input=stdin,
        )
        if check and done.returncode != 0:
            raise LabError(f"docker {' '.join(words[:2])} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def is_reachable(self) -> bool:
        """Return True if the docker command is installed and the engine answers."""
        if not shutil.which("docker"):
            return False
        return bool(self.run("version", "-f", "{{.Server.Version}}", check=False).strip())


@contextmanager
def open_build_engine() -> Iterator[Engine]:
    """Open an engine that builds images and reaches the same network as this machine."""
    with _open_engine([], BUILDER_OPTIONS) as engine:
        yield engine


@contextmanager
def open_container_engine() -> Iterator[Engine]:
    """Open an engine that runs containers; if started here, its containers reach nothing outside."""
    with _open_engine(["--net"], []) as engine:
        yield engine


@contextmanager
def _open_engine(namespaces: list[str], options: list[str]) -> Iterator[Engine]:
    if (existing := Engine(None)).is_reachable():
        yield existing
        return
    with hold_lock("docker"), create_run_folder() as folder:
        engine = Engine(get_daemon_host(folder))
        daemon = launch_dockerd(folder, get_cache_folder() / "docker", options, namespaces)
        try:
            await_dockerd(folder, daemon)
            yield engine
            engine.run("image", "prune", "--force", "--filter", "until=24h")  # layers of earlier builds
        finally:
            daemon.terminate()
            daemon.wait(BUSY_FACTOR * 60)


def get_daemon_host(folder: Path) -> str:
    """Return the address (`unix://...`) of the engine that `launch_dockerd` runs in `folder`."""
    return f"unix://{folder}/docker.sock"


def launch_dockerd(
    folder: Path, data_root: Path, options: Sequence[str], namespaces: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Launch dockerd in its own mount namespace; it ends with this process.

    Args:
        folder: place of its socket, log, pid file and volatile state.
        data_root: place of its images and containers.
        options: further options of dockerd.
        namespaces: further options of unshare, such as `--net`.
    """
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            [
                *("unshare", "--mount", *namespaces, "setpriv", "--pdeathsig", "TERM"),
                *("dockerd", "--host", get_daemon_host(folder), "--data-root", str(data_root)),
                *("--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", *options),
            ],
            stdout=log,
            stderr=log,
        )


def await_dockerd(folder: Path, daemon: subprocess.Popen[bytes]) -> None:
    """Wait until the engine launched in `folder` answers.

    Raises:
        LabError: it has ended, or does not answer in time; the message ends with the end of its log.
    """
    poll_until(
        Engine(get_daemon_host(folder)).is_reachable,
        60,
        lambda _: f"cannot start dockerd: {(folder / 'log').read_text().strip()[-500:]}",
        interval_s=0.1,
        process=daemon,
    )
