"""Run a real HTCondor pool of containers: a manager, and workers of the unchanged worker-node image."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from lab import pool_settings
from lab.docker_engine import Engine
from lab.schedd import Schedd
from lab.worker_image import WorkerImage

_pool_numbers = itertools.count(1)


class Container:
    """Container that has been created in an engine."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    def run(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        """Run a command inside and return its standard output."""
        return self._engine.run("exec", "--interactive", "--user", user, self.name, *argv, stdin=stdin, check=check)

    def stop(self, grace: int) -> None:
        """Stop the container with `docker stop -t GRACE` (seconds) and return when it has ended."""
        self._engine.run("stop", "--time", str(grace), self.name, timeout=grace + 30)

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit code; `timeout` seconds are enough on an idle machine."""
        return int(self._engine.run("wait", self.name, timeout=timeout))

    def get_state(self) -> dict[str, Any]:
        """Return the engine's state of the container: Running, ExitCode, Health ..."""
        return dict(json.loads(self._engine.run("inspect", "--format", "{{json .State}}", self.name)))

    @property
    def health(self) -> str:
        """Health status as the engine reports it, such as `healthy`."""
        return str(self.get_state()["Health"]["Status"])

    @property
    def address(self) -> str:
        """IPv4 address in the pool's network."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return self._engine.run("inspect", "--format", template, self.name).split()[0]

    def read_log(self) -> str:
        """Return the output of both streams."""
        return self._engine.run("logs", self.name, include_stderr=True)

    def read_file(self, path: str) -> str:
        """Return a file of the container's disk, also after the container's end."""
        with tempfile.TemporaryDirectory() as folder:
            self._engine.run("cp", f"{self.name}:{path}", f"{folder}/file")
            return Path(folder, "file").read_text(errors="replace")


class ContainerPool(Schedd):
    """Pool whose manager runs inside the `with` block; `start_worker` adds workers. All is removed at the end."""

    def __init__(self, engine: Engine, image: WorkerImage) -> None:
        self._engine = engine
        self._image = image
        self._prefix = f"autopilot-lab-{os.getpid()}-{next(_pool_numbers)}"
        self.workers: list[Container] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            self._engine.run("network", "create", self._prefix)
            stack.callback(self._engine.run, "network", "rm", self._prefix)
            start = f"{pool_settings.MANAGER_SETUP_SCRIPT}\nexec condor_master -f"
            self.manager = self._start_container(
                pool_settings.MANAGER_NAME,
                self._image.condor_tag,
                ["sh", "-c", start],
                files={pool_settings.SITE_CONFIG_PATH: (pool_settings.MANAGER_CONFIG, 0o644)},
            )
            self.wait_until(self.is_manager_up, 60, "the manager is up")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def network_name(self) -> str:
        """Name of the engine's network that connects the pool."""
        return self._prefix

    def run_on_manager(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        """Run a command on the manager and return its standard output."""
        return self.manager.run(*argv, user=user, stdin=stdin, check=check)

    def start_worker(
        self, *, options: Sequence[str] = (), env: Mapping[str, str] | None = None, spec: str | None = None
    ) -> Container:
        """Start a worker from the image.

        Args:
            options: further options of `docker create`.
            env: further variables of its environment.
            spec: text of the job spec; None for the image's own.
        """
        number = len(self.workers) + 1
        host_entry = ["--add-host", f"{pool_settings.CONDOR_HOST}:{self.manager.address}"]
        environment = {"CONDOR_HOST": pool_settings.CONDOR_HOST, **(env or {})}
        files = {pool_settings.MOUNTED_TOKEN_PATH: (self.create_token(), 0o600)}
        if spec is not None:
            files["/etc/autopilot.json5"] = (spec, 0o644)
        worker = self._start_container(
            f"worker{number}",
            self._image.worker_tag,
            options=[
                *host_entry,
                *(word for pair in environment.items() for word in ("--env", "=".join(pair))),
                *options,
            ],
            files=files,
        )
        self.workers.append(worker)
        return worker

    def _start_container(
        self,
        name: str,
        image: str,
        argv: Sequence[str] = (),
        *,
        options: Sequence[str] = (),
        files: Mapping[str, tuple[str, int]],
    ) -> Container:
        container = Container(self._engine, f"{self._prefix}-{name}")
        host_name = f"{name}.{pool_settings.DOMAIN}"
        naming = ["--name", container.name, "--network", self._prefix, "--hostname", host_name]
        naming += ["--network-alias", host_name]
        # a silent name server would delay every daemon
        dns_limits = ["--dns-opt", "timeout:1", "--dns-opt", "attempts:1"]
        self._engine.run("create", *naming, *dns_limits, *options, image, *argv)
        self._stack.callback(self._engine.run, "rm", "--force", "--volumes", container.name)
        for path, (text, mode) in files.items():
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "file")
                file.write_text(text)
                file.chmod(mode)
                self._engine.run("cp", str(file), f"{container.name}:{path}")
        self._engine.run("start", container.name)
        return container
