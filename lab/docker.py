"""A Docker engine, the worker-node image, and a pool of containers.

An engine that runs already is used as it is; else one is started with its own folder, socket and no bridge or firewall
rules of its own, so that nothing is left of it on the machine. Images are built over a Debian from the machine's mirror:
no registry is asked for anything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lab import settings, wheelhouse
from lab.cache import cache, key, workplace
from lab.errors import LabError
from lab.rootfs import slim_tar

RECIPE = wheelhouse.REPO / "examples" / "worker-node"
NAME = "condor-autopilot-lab"
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def answers(host: str | None = None) -> bool:
    """Whether an engine answers there (None: where the docker command looks by itself)."""
    if not shutil.which("docker"):
        return False
    where = ["--host", host] if host else []
    return subprocess.run(["docker", *where, "version"], capture_output=True, check=False, timeout=30).returncode == 0


@contextmanager
def engine() -> Iterator[Engine]:
    """The machine's engine if one runs; else our own for as long as this lasts."""
    if answers():
        yield Engine(None)
        return
    with workplace() as folder, ExitStack() as stack:
        host = f"unix://{folder}/docker.sock"
        log = stack.enter_context((folder / "log").open("w"))
        daemon = subprocess.Popen(
            [
                *("dockerd", "--host", host, "--data-root", str(cache() / "docker"), "--exec-root", f"{folder}/exec"),
                *("--pidfile", f"{folder}/pid", "--bridge=none", "--iptables=false", "--ip6tables=false"),
            ],
            stdout=log,
            stderr=log,
        )
        try:
            end = time.monotonic() + 60
            while not answers(host):
                if daemon.poll() is not None or time.monotonic() > end:
                    raise LabError(f"cannot start dockerd: {(folder / 'log').read_text().strip()[-500:]}")
                time.sleep(0.1)  # its socket notifies nobody
            yield Engine(host)
        finally:
            daemon.terminate()
            daemon.wait(60)


class Engine:
    """The docker command against one engine."""

    def __init__(self, host: str | None) -> None:
        self._docker = ["docker", *(["--host", host] if host else [])]

    def run(self, *words: str, timeout: float = 60, check: bool = True, stdin: str = "") -> str:
        """One docker command's standard output."""
        done = subprocess.run(
            [*self._docker, *words], capture_output=True, text=True, check=False, timeout=timeout, input=stdin
        )
        if check and done.returncode != 0:
            raise LabError(f"docker {' '.join(words[:2])} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout
