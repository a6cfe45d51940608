"""A worker of a real pool whose PID 1 is `driver.py`: the adapter alone, called by the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from lab.host import Host
from lab.pool import Pool

settings.register_profile("calm", deadline=None)  # a busy machine is no failure
settings.load_profile("calm")

DRIVER = Path(__file__).with_name("driver.py").read_text()
SETTINGS = {"STARTER_ALLOW_RUNAS_OWNER": "False", "UID_DOMAIN": "pool", "UPDATE_INTERVAL": "300"}
OPTIONS: Mapping[str, Any] = {"poll": 2.0, "min_execute": 1 << 20, "min_log": 1 << 20, "node": {"settings": SETTINGS}}


class Worker:
    def __init__(self, pool: Pool, options: Mapping[str, Any], **host: Any) -> None:
        self.pool = pool
        files = {"/driver.py": DRIVER, **host.pop("files", {})}
        argv = ["python3", "/driver.py", json.dumps({**OPTIONS, **options})]
        self.host: Host = pool.worker(argv, files=files, **host)

    def ask(self, text: str) -> None:
        self.host.run(f"echo {text} > /run/ask")

    def heard(self, said: str, **fields: object) -> list[dict[str, Any]]:
        """What the adapter said so far: cues and answers of this kind with these fields."""
        lines = [json.loads(line) for line in self.host.log().splitlines() if line.startswith('{"said"')]
        return [one for one in lines if one["said"] == said and fields.items() <= one.items()]

    def hears(self, said: str, within: float = 15, **fields: object) -> dict[str, Any]:
        found = self.pool.wait(lambda: self.heard(said, **fields), within, f"{said} {fields}\n{self.host.log()}")
        return found[-1]

    def joins(self) -> None:
        self.pool.wait(self.pool.slots, 20, "the worker joins")

    def runs(self, **job: Any) -> str:
        """Submit a job and wait until its payload runs and the adapter has seen it."""
        name = self.pool.submit(**job)
        self.pool.wait(lambda: self.pool.executing(name), 30, f"job {name} runs")
        self.pool.wait(lambda: any(one["payloads"] for one in self.heard("PayloadsSeen")), 10, "the adapter sees it")
        return name

    def becomes(self, job: str, status: str, within: float) -> None:
        self.pool.wait(lambda: self.pool.job_status(job) == status, within, f"job {job} is {status}")

    def probe(self, aspect: str, timeout: float = 5) -> dict[str, Any]:
        asked = len(self.heard("Probed", aspect=aspect))
        self.ask(f"probe {aspect} {timeout:g}")
        self.pool.wait(lambda: len(self.heard("Probed", aspect=aspect)) > asked, timeout + 5, f"probe {aspect}")
        return self.heard("Probed", aspect=aspect)[-1]

    def drains_by(self, *words: str, within: float = 15) -> None:
        """Wait until the status says of the drain all of these."""
        end = time.monotonic() + within
        while not all(word in str(said := self.status()["drain"]) for word in words):
            assert time.monotonic() < end, f"not {words} but {said}"
            time.sleep(0.3)  # nobody notifies a test outside the worker

    def status(self) -> dict[str, Any]:
        asked = len(self.heard("Status"))
        self.ask("status")
        self.pool.wait(lambda: len(self.heard("Status")) > asked, 5, "status")
        return self.heard("Status")[-1]


@pytest.fixture
def worker(pool: Pool) -> Iterator[Callable[..., Worker]]:
    """Starts workers: `worker(poll=1.0, constants={...}, host={...})`."""

    def start(host: Mapping[str, Any] | None = None, **options: Any) -> Worker:
        return Worker(pool, options, **(host or {}))

    yield start
