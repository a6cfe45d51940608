"""A worker of a real pool whose PID 1 is `driver.py`: the adapter alone, called by the test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.lab_host import Host
from lab.pool import Pool

DRIVER_SOURCE = Path(__file__).with_name("driver.py").read_text()
SETTINGS = {"STARTER_ALLOW_RUNAS_OWNER": "False", "UID_DOMAIN": "pool", "UPDATE_INTERVAL": "300"}
DEFAULT_OPTIONS: Mapping[str, Any] = {
    "poll": 2.0,
    "min_execute": 1 << 20,
    "min_log": 1 << 20,
    "node": {"settings": SETTINGS},
}


class Worker:
    def __init__(self, pool: Pool, options: Mapping[str, Any], **host: Any) -> None:
        self.pool = pool
        files = {"/driver.py": DRIVER_SOURCE, **host.pop("files", {})}
        argv = ["python3", "/driver.py", json.dumps({**DEFAULT_OPTIONS, **options})]
        self.host: Host = pool.start_worker(argv, files=files, **host)

    def send_command(self, text: str) -> None:
        self.host.run(f"echo {text} > /run/ask")

    def list_reports(self, report: str, **fields: object) -> list[dict[str, Any]]:
        """Return the adapter's reports so far: cues and answers of this kind with these fields."""
        whole = [line for line in self.host.read_log().splitlines(keepends=True) if line.endswith("\n")]
        reports = [json.loads(line) for line in whole if line.startswith('{"report"')]
        return [one for one in reports if one["report"] == report and fields.items() <= one.items()]

    def wait_for_report(self, report: str, timeout: float = 15, **fields: object) -> dict[str, Any]:
        found = self.pool.wait_until(
            lambda: self.list_reports(report, **fields), timeout, f"{report} {fields}\n{self.host.read_log()}"
        )
        return found[-1]

    def wait_until_joined(self) -> None:
        self.pool.wait_until(self.pool.list_slots, 20, "the worker joins")

    def start_job(self, **job: Any) -> str:
        """Submit a job and wait until its payload runs and the adapter has seen it."""
        name = self.pool.submit(**job)
        self.pool.wait_until(lambda: self.pool.is_executing(name), 30, f"job {name} runs")
        self.pool.wait_until(
            lambda: any(one["payloads"] for one in self.list_reports("PayloadsObserved")), 10, "the adapter sees it"
        )
        return name

    def wait_for_job_status(self, job: str, status: str, timeout: float) -> None:
        self.pool.wait_until(lambda: self.pool.get_job_status(job) == status, timeout, f"job {job} is {status}")

    def probe(self, aspect: str, timeout: float = 5) -> dict[str, Any]:
        asked = len(self.list_reports("Probed", aspect=aspect))
        self.send_command(f"probe {aspect} {timeout:g}")
        self.pool.wait_until(
            lambda: len(self.list_reports("Probed", aspect=aspect)) > asked, timeout + 5, f"probe {aspect}"
        )
        return self.list_reports("Probed", aspect=aspect)[-1]

    def wait_for_drain_status(self, *words: str, timeout: float = 45) -> None:
        """Wait until all of these words are in the status of the drain."""
        end = time.monotonic() + timeout
        while not all(word in str(drain_status := self.get_status()["drain"]) for word in words):
            assert time.monotonic() < end, f"not {words} but {drain_status}"
            time.sleep(0.3)  # nobody notifies a test outside the worker

    def get_status(self) -> dict[str, Any]:
        asked = len(self.list_reports("Status"))
        self.send_command("status")
        self.pool.wait_until(lambda: len(self.list_reports("Status")) > asked, 5, "status")
        return self.list_reports("Status")[-1]


@pytest.fixture
def worker(pool: Pool) -> Iterator[Callable[..., Worker]]:
    """Starts workers: `worker(poll=1.0, constants={...}, host={...})`."""

    def start(host: Mapping[str, Any] | None = None, **options: Any) -> Worker:
        return Worker(pool, options, **(host or {}))

    yield start
