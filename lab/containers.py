"""A real HTCondor pool of containers: a manager, and workers that are the worker-node image as it is."""

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
    """One container that was started."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    def run(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        """A command inside, and its standard output."""
        return self._engine.run("exec", "--interactive", "--user", user, self.name, *argv, stdin=stdin, check=check)

    def stop(self, grace: int) -> None:
        """`docker stop -t GRACE`: returns when it has ended."""
        self._engine.run("stop", "--time", str(grace), self.name, timeout=grace + 30)

    def wait(self, timeout: float) -> int:
        """Wait for its end and return the exit code."""
        return int(self._engine.run("wait", self.name, timeout=timeout))

    def get_state(self) -> dict[str, Any]:
        """As the engine tells it: Running, ExitCode, Health ..."""
        return dict(json.loads(self._engine.run("inspect", "--format", "{{json .State}}", self.name)))

    @property
    def health(self) -> str:
        return str(self.get_state()["Health"]["Status"])

    @property
    def address(self) -> str:
        every = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return self._engine.run("inspect", "--format", every, self.name).split()[0]

    def read_log(self) -> str:
        """All that it printed, on both its streams."""
        return self._engine.run("logs", self.name, include_stderr=True)

    def read_file(self, path: str) -> str:
        """A file of its disk; works after its end, too."""
        with tempfile.TemporaryDirectory() as folder:
            self._engine.run("cp", f"{self.name}:{path}", f"{folder}/file")
            return Path(folder, "file").read_text(errors="replace")


class ContainerPool(Schedd):
    """The manager runs from the `with` on; `worker()` adds workers. Containers and network are gone at the end."""

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
        """Of its network."""
        return self._prefix

    def run_on_manager(self, *argv: str, user: str = "root", stdin: str = "", check: bool = True) -> str:
        return self.manager.run(*argv, user=user, stdin=stdin, check=check)

    def start_worker(
        self, *, options: Sequence[str] = (), env: Mapping[str, str] | None = None, spec: str | None = None
    ) -> Container:
        """Start a worker from the image: its own entry point and job spec, unless `spec` is another spec's text."""
        number = len(self.workers) + 1
        known = ["--add-host", f"{pool_settings.CONDOR_HOST}:{self.manager.address}"]
        environment = {"CONDOR_HOST": pool_settings.CONDOR_HOST, **(env or {})}
        files = {pool_settings.MOUNTED_TOKEN_PATH: (self.create_token(), 0o600)}
        if spec is not None:
            files["/etc/autopilot.json5"] = (spec, 0o644)
        worker = self._start_container(
            f"worker{number}",
            self._image.worker_tag,
            options=[*known, *(word for pair in environment.items() for word in ("--env", "=".join(pair))), *options],
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
        full = f"{name}.{pool_settings.DOMAIN}"
        named = ["--name", container.name, "--network", self._prefix, "--hostname", full, "--network-alias", full]
        named += [
            "--dns-opt",
            "timeout:1",
            "--dns-opt",
            "attempts:1",
        ]  # a silent name server would hold every daemon up
        self._engine.run("create", *named, *options, image, *argv)
        self._stack.callback(self._engine.run, "rm", "--force", "--volumes", container.name)
        for path, (text, mode) in files.items():
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "file")
                file.write_text(text)
                file.chmod(mode)
                self._engine.run("cp", str(file), f"{container.name}:{path}")
        self._engine.run("start", container.name)
        return container
