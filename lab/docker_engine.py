"""A Docker engine: the machine's own if one runs, else one of ours.

Ours has its own folder, socket and mount namespace. To build images it uses the machine's network, without a bridge or
a firewall rule; to run containers it gets a network namespace. So nothing of it is left on the machine, and neither the
machine's firewall nor its name servers have a say in a pool of containers.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.cache import create_run_folder, get_cache_folder, hold_lock
from lab.lab_errors import LabError

BUILDER_OPTIONS = ["--bridge=none", "--iptables=false", "--ip6tables=false"]


class Engine:
    """The docker command against one engine (None: where the command looks by itself)."""

    def __init__(self, host: str | None) -> None:
        self.socket = host.removeprefix("unix://") if host else "/var/run/docker.sock"
        self._docker = ["docker", *(["--host", host] if host else [])]

    def run(
        self, *words: str, timeout: float = 60, check: bool = True, stdin: str = "", include_stderr: bool = False
    ) -> str:
        """One docker command's standard output; with `errors_too`, its errors among it."""
        errors = subprocess.STDOUT if include_stderr else subprocess.PIPE
        done = subprocess.run(
            [*self._docker, *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
            timeout=timeout,
            input=stdin,
        )
        if check and done.returncode != 0:
            raise LabError(f"docker {' '.join(words[:2])} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def is_reachable(self) -> bool:
        if not shutil.which("docker"):
            return False
        return bool(self.run("version", "-f", "{{.Server.Version}}", check=False).strip())


@contextmanager
def open_build_engine() -> Iterator[Engine]:
    """An engine that builds images and reaches what the machine reaches."""
    with _open_engine([], BUILDER_OPTIONS) as engine:
        yield engine


@contextmanager
def open_container_engine() -> Iterator[Engine]:
    """An engine that runs containers; ours cannot reach anything outside."""
    with _open_engine(["--net"], []) as engine:
        yield engine


@contextmanager
def _open_engine(namespaces: list[str], options: list[str]) -> Iterator[Engine]:
    if (machines := Engine(None)).is_reachable():
        yield machines
        return
    with hold_lock("docker"), create_run_folder() as folder, ExitStack() as stack:
        host = f"unix://{folder}/docker.sock"
        log = stack.enter_context((folder / "log").open("w"))
        daemon = subprocess.Popen(
            [
                # its mounts go with its mount namespace, and it goes with us
                *("unshare", "--mount", *namespaces, "setpriv", "--pdeathsig", "TERM"),
                *(
                    "dockerd",
                    "--host",
                    host,
                    "--data-root",
                    str(get_cache_folder() / "docker"),
                    "--exec-root",
                    f"{folder}/exec",
                ),
                *("--pidfile", f"{folder}/pid", *options),
            ],
            stdout=log,
            stderr=log,
        )
        try:
            _wait_until_reachable(Engine(host), daemon, folder / "log")
            yield Engine(host)
            Engine(host).run("image", "prune", "--force", "--filter", "until=24h")  # what earlier builds left
        finally:
            daemon.terminate()
            daemon.wait(60)


def _wait_until_reachable(engine: Engine, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while not engine.is_reachable():
        if daemon.poll() is not None or time.monotonic() > end:
            raise LabError(f"cannot start dockerd: {log.read_text().strip()[-500:]}")
        time.sleep(0.1)  # its socket notifies nobody
