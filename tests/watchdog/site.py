"""Set up a host as an administrator does: a real engine, a real registry, a configuration, and the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from autopilot_watchdog.cli.main import main
from autopilot_watchdog.engine.engine import EngineUnreachableError
from autopilot_watchdog.engine.engine_http import EngineClient
from click.testing import CliRunner

from lab.docker_engine import Engine
from lab.polling import BUSY_FACTOR
from lab.registry_server import Registry
from lab.tiny_images import build_and_push, format_healthy_script

NAME = "wn"
ENGINE_TIMEOUT_S = 60.0 * BUSY_FACTOR


class EngineService(Protocol):
    """Running engine of the lab."""

    @property
    def socket(self) -> str:
        """Path of its API socket."""
        ...


@runtime_checkable
class CrashableEngineService(EngineService, Protocol):
    """Engine of the lab that a test may crash."""

    def crash(self) -> None:
        """Kill the engine with its containers, as a power cut does."""
        ...

    def start(self) -> None:
        """Start the engine again."""
        ...


class Site:
    """Host with one engine; the watchdog's verbs run in their own processes, as the timer calls them."""

    def __init__(self, folder: Path, engine: str, service: EngineService, registry: Registry, builder: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.service = service
        self.registry = registry
        self.builder = builder
        self.path = os.environ["PATH"]
        self.command_prefix: list[str] = []  # before each command: a wrong clock, another namespace
        self.interpreter = [sys.executable]  # with its options
        self.config = folder / "autopilot-watchdog.json"
        self.document: dict[str, Any] = {
            "host": "h1",
            "state": str(folder / "state"),
            "engines": {engine: service.socket},
            "registry": {"check_every": "0s", "fresh": "0s", "timeout": "2s", "patience": "60s"},
            "rollout": {"rings": [{"share": "100%", "after": "0s"}], "spread": "0s", "patience": "60s"},
            "fitness": {"free_disk": 0},
            "metrics": {"textfile": str(folder / "watchdog.prom")},
            "slots": [{"name": f"{NAME}-NN", "image": self.push_reference, "engine": engine, "network": "none"}],
        }
        self.write_config()

    @property
    def push_reference(self) -> str:
        """Reference of the image for its builders."""
        return f"{self.registry.address}/site/{self.folder.name.lower()}:stable"

    @property
    def reference(self) -> str:
        """Reference of the image in the host's configuration; a proxy may lie between host and registry."""
        return str(self.document["slots"][0]["image"])

    @property
    def state_folder(self) -> Path:
        """Folder of the watchdog's state."""
        return Path(self.document["state"])

    @contextmanager
    def crash_engine(self) -> Iterator[None]:
        """Crash the engine; start it again at the end of the block."""
        assert isinstance(self.service, CrashableEngineService)
        self.service.crash()
        try:
            yield
        finally:
            self.service.start()

    def use_registry_address(self, address: str) -> None:
        """Let the host reach the registry at another address, such as a proxy's."""
        self.write_config({"image": self.push_reference.replace(self.registry.address, address)})

    def write_config(self, slot: dict[str, Any] | None = None, **rest: Any) -> None:
        """Change keys of the slot group and of the configuration, and write the file."""
        self.document.update(rest)
        self.document["slots"][0].update(slot or {})
        self.config.write_text(json.dumps(self.document, indent=1))

    def push_image(self, script: str | None = None, **options: Any) -> str:
        """Push an image that runs the script under the tag; return its digest. Equal scripts give one image."""
        return build_and_push(
            self.builder, self.push_reference, format_healthy_script() if script is None else script, **options
        )

    def build_command(self, *words: str) -> list[str]:
        """Build the command line of a verb."""
        return [
            *self.command_prefix,
            *self.interpreter,
            "-m",
            "autopilot_watchdog",
            words[0],
            "--config",
            str(self.config),
            *words[1:],
        ]

    def run_verb(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a verb with its arguments; a busy machine is given BUSY_FACTOR times `timeout` seconds."""
        return subprocess.run(
            self.build_command(*words),
            capture_output=True,
            text=True,
            timeout=BUSY_FACTOR * timeout,
            check=False,
            env=self.build_environment(),
        )

    def build_environment(self) -> dict[str, str]:
        """Build the environment of the watchdog's processes."""
        return {**os.environ, "HOME": str(self.folder), "DOCKER_CONFIG": str(self.folder / "docker"), "PATH": self.path}

    def run_once(self, expected_exit_code: int | None = 0, timeout: float = 60) -> str:
        """Run one pass and return its lines on standard error."""
        done = self.run_verb("run", timeout=timeout)
        assert expected_exit_code is None or done.returncode == expected_exit_code, (
            f"exit {done.returncode}\n{done.stderr}"
        )
        return done.stderr

    def get_slots(self) -> dict[str, dict[str, Any]]:
        """Return the slots of `status -o json` by name.

        Tests ask for them again and again while they wait, so the verb runs in this process: a new one for each
        question would keep a core busy.
        """
        if self.command_prefix:
            text = self.run_verb("status", "-o", "json").stdout
        else:
            text = CliRunner().invoke(main, ["status", "--config", str(self.config), "-o", "json"]).stdout
        document = json.loads(text)
        return {slot["slot"]: slot for slot in document["slots"]}

    def ask_engine(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """Return the engine's answer to a GET, once it answers: a busy Podman may be silent for many seconds."""
        deadline = time.monotonic() + ENGINE_TIMEOUT_S
        while True:
            try:
                return EngineClient(self.engine, self.service.socket).request_json("GET", path, query)
            except EngineUnreachableError:
                if time.monotonic() > deadline:
                    raise

    def read_state(self) -> dict[str, Any]:
        """Read the watchdog's memory."""
        return dict(json.loads((self.state_folder / "state.json").read_text()))

    def get_image_record(self) -> dict[str, Any]:
        """Return the memory of the image."""
        return dict(self.read_state()["images"][f"{self.engine} {self.reference}"])

    def read_audit(self, event: str = "") -> list[dict[str, Any]]:
        """Read the audit log's entries with this event id; all without one."""
        lines = [json.loads(line) for line in (self.state_folder / "audit.jsonl").read_text().splitlines()]
        return [line for line in lines if event in ("", line["event"])]

    @contextmanager
    def run_watch(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run `watch` until the end of the block."""
        with (self.folder / "watch.log").open("a") as log:
            process = subprocess.Popen(self.build_command("watch", *options), stderr=log, env=self.build_environment())
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10 * BUSY_FACTOR)


def eventually(predicate: Callable[[], Any], timeout_s: float, description: str) -> Any:
    """Return the predicate's first truthy answer; fail with the description if there is none in time.

    Args:
        predicate: the condition.
        timeout_s: seconds that are enough on an idle machine; BUSY_FACTOR times as many are given.
        description: sentence that should become true.
    """
    timeout_s *= BUSY_FACTOR
    end = time.monotonic() + timeout_s
    while True:
        answer = predicate()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {timeout_s} s: {description}; last answer {answer!r}"
        time.sleep(0.1)
