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

from lab.docker import Engine
from lab.registry import Registry
from lab.tiny import good_life, push

NAME = "wn"


class Service(Protocol):
    """An engine that can be talked to."""

    @property
    def socket(self) -> str: ...


class Site:
    """`run` is the real command in a process of its own, as the timer calls it."""

    def __init__(self, folder: Path, engine: str, service: Service, registry: Registry, builder: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.service = service
        self.registry = registry
        self.builder = builder
        self.path = os.environ["PATH"]
        self.before: list[str] = []  # what is put before each command: a wrong clock, another namespace
        self.config = folder / "autopilot-watchdog.json"
        self.document: dict[str, Any] = {
            "host": "h1",
            "state": str(folder / "state"),
            "engines": {engine: service.socket},
            "registry": {"check_every": "0s", "fresh": "0s", "timeout": "2s"},
            "rollout": {"rings": [{"share": "100%", "after": "0s"}], "spread": "0s"},
            "fitness": {"free_disk": 0},
            "metrics": {"textfile": str(folder / "watchdog.prom")},
            "slots": [{"name": f"{NAME}-NN", "image": self.pushed, "engine": engine, "network": "none"}],
        }
        self.write()

    @property
    def pushed(self) -> str:
        """The image as its builders push it."""
        return f"{self.registry.address}/site/{self.folder.name.lower()}:stable"

    @property
    def reference(self) -> str:
        """The image as the host knows it: through the same registry, maybe by another wire."""
        return str(self.document["slots"][0]["image"])

    @property
    def home(self) -> Path:
        """The watchdog's state folder."""
        return Path(self.document["state"])

    def through(self, address: str) -> None:
        self.write({"image": self.pushed.replace(self.registry.address, address)})

    def write(self, slot: dict[str, Any] | None = None, **rest: Any) -> None:
        self.document.update(rest)
        self.document["slots"][0].update(slot or {})
        self.config.write_text(json.dumps(self.document, indent=1))

    def push(self, script: str | None = None, **options: Any) -> str:
        """A new image under the tag; returns its digest. Two scripts that are alike are one image."""
        return push(self.builder, self.pushed, good_life() if script is None else script, **options)

    def command(self, *words: str) -> list[str]:
        return [
            *self.before,
            sys.executable,
            "-m",
            "autopilot_watchdog",
            words[0],
            "--config",
            str(self.config),
            *words[1:],
        ]

    def call(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=timeout, check=False, env=self.env()
        )

    def env(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder), "DOCKER_CONFIG": str(self.folder / "docker"), "PATH": self.path}

    def run(self, expect: int | None = 0, timeout: float = 60) -> str:
        """One pass; returns what it said."""
        done = self.call("run", timeout=timeout)
        assert expect is None or done.returncode == expect, f"exit {done.returncode}\n{done.stderr}"
        return done.stderr

    def status(self) -> dict[str, dict[str, Any]]:
        document = json.loads(self.call("status", "-o", "json").stdout)
        return {slot["slot"]: slot for slot in document["slots"]}

    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "state.json").read_text()))

    def image(self) -> dict[str, Any]:
        return dict(self.state()["images"][f"{self.engine} {self.reference}"])

    def audit(self, event: str = "") -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (self.home / "audit.jsonl").read_text().splitlines()]
        return [line for line in lines if event in ("", line["event"])]

    @contextmanager
    def watching(self):
        """`watch`, until the end of the block."""
        with (self.folder / "watch.log").open("a") as log:
            process = subprocess.Popen(self.command("watch"), stderr=log, env=self.env())
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


def eventually(what: Callable[[], Any], seconds: float, holds: str) -> Any:
    """The first truthy answer; fails with the sentence when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds} s: {holds}; last answer {answer!r}"
        time.sleep(0.02)
