"""A host as an administrator sets it up: a real engine, a real registry, a configuration, and the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from lab.docker_engine import Engine
from lab.registry_server import Registry
from lab.tiny_images import build_and_push, format_healthy_script

NAME = "wn"
BUSY = 3.0  # times as many seconds are given as are enough on an idle machine


class EngineService(Protocol):
    """An engine that can be talked to."""

    @property
    def socket(self) -> str: ...


class Site:
    """`run` is the real command in a process of its own, as the timer calls it."""

    def __init__(self, folder: Path, engine: str, service: EngineService, registry: Registry, builder: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.service = service
        self.registry = registry
        self.builder = builder
        self.path = os.environ["PATH"]
        self.command_prefix: list[str] = []  # what is put before each command: a wrong clock, another namespace
        self.config = folder / "autopilot-watchdog.json"
        self.document: dict[str, Any] = {
            "host": "h1",
            "state": str(folder / "state"),
            "engines": {engine: service.socket},
            "registry": {"check_every": "0s", "fresh": "0s", "timeout": "2s"},
            "rollout": {"rings": [{"share": "100%", "after": "0s"}], "spread": "0s"},
            "fitness": {"free_disk": 0},
            "metrics": {"textfile": str(folder / "watchdog.prom")},
            "slots": [{"name": f"{NAME}-NN", "image": self.push_reference, "engine": engine, "network": "none"}],
        }
        self.write_config()

    @property
    def push_reference(self) -> str:
        """The image as its builders push it."""
        return f"{self.registry.address}/site/{self.folder.name.lower()}:stable"

    @property
    def reference(self) -> str:
        """The image as the host knows it: through the same registry, maybe by another wire."""
        return str(self.document["slots"][0]["image"])

    @property
    def state_folder(self) -> Path:
        """The watchdog's state folder."""
        return Path(self.document["state"])

    def use_registry_address(self, address: str) -> None:
        self.write_config({"image": self.push_reference.replace(self.registry.address, address)})

    def write_config(self, slot: dict[str, Any] | None = None, **rest: Any) -> None:
        self.document.update(rest)
        self.document["slots"][0].update(slot or {})
        self.config.write_text(json.dumps(self.document, indent=1))

    def push_image(self, script: str | None = None, **options: Any) -> str:
        """A new image under the tag; returns its digest. Two scripts that are alike are one image."""
        return build_and_push(
            self.builder, self.push_reference, format_healthy_script() if script is None else script, **options
        )

    def build_command(self, *words: str) -> list[str]:
        return [
            *self.command_prefix,
            sys.executable,
            "-m",
            "autopilot_watchdog",
            words[0],
            "--config",
            str(self.config),
            *words[1:],
        ]

    def run_verb(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.build_command(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self.build_environment(),
        )

    def build_environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder), "DOCKER_CONFIG": str(self.folder / "docker"), "PATH": self.path}

    def run_once(self, expected_exit_code: int | None = 0, timeout: float = 60) -> str:
        """One pass; returns what it said."""
        done = self.run_verb("run", timeout=timeout)
        assert expected_exit_code is None or done.returncode == expected_exit_code, (
            f"exit {done.returncode}\n{done.stderr}"
        )
        return done.stderr

    def get_slots(self) -> dict[str, dict[str, Any]]:
        document = json.loads(self.run_verb("status", "-o", "json").stdout)
        return {slot["slot"]: slot for slot in document["slots"]}

    def read_state(self) -> dict[str, Any]:
        return dict(json.loads((self.state_folder / "state.json").read_text()))

    def get_image_record(self) -> dict[str, Any]:
        return dict(self.read_state()["images"][f"{self.engine} {self.reference}"])

    def read_audit(self, event: str = "") -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (self.state_folder / "audit.jsonl").read_text().splitlines()]
        return [line for line in lines if event in ("", line["event"])]

    @contextmanager
    def run_watch(self):
        """`watch`, until the end of the block."""
        with (self.folder / "watch.log").open("a") as log:
            process = subprocess.Popen(self.build_command("watch"), stderr=log, env=self.build_environment())
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


def eventually(predicate: Callable[[], Any], timeout_s: float, description: str) -> Any:
    """The first truthy answer; fails with the sentence when there is none in time."""
    timeout_s *= BUSY
    end = time.monotonic() + timeout_s
    while True:
        answer = predicate()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {timeout_s} s: {description}; last answer {answer!r}"
        time.sleep(0.02)
