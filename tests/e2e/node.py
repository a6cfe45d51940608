"""Nodes of a real pool, whose PID 1 is the supervisor: the common part, and a worker of HTCondor."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Self

from lab.lab_host import Host
from lab.pool import Pool

CONFIG_PATH = "/etc/autopilot.json"
AT_ONCE = 30.0  # s; it takes two of HTCondor's on an idle machine; a job in limbo would stay there for minutes
STATE_PATH = "/var/lib/autopilot"
BEGUN_PATH, FINISH_PATH = "/srv/begun", "/srv/finish"
UNTIL_TOLD = f"until [ -e {FINISH_PATH} ]; do sleep 0.1; done"  # a job that ends at `BatchNode.finish_jobs`

MASTER: dict[str, Any] = {
    "name": "condor-master",
    "exec": ["condor_master", "-f"],
    "essential": True,
    "health": {"htcondor": "startd", "interval": "2s", "timeout": "5s", "ttl": "30s", "failures": 2},
}
SETTINGS = {"STARTER_ALLOW_RUNAS_OWNER": "False", "UPDATE_INTERVAL": "5", "STARTD_NOT_RESPONDING_TIMEOUT": "20"}


class BatchNode:
    """A node of any batch system.

    Attributes:
        pool: The pool or cluster that it belongs to.
        worker: Its host.
    """

    pool: Any
    worker: Host

    def wait_until_joined(self) -> Self:
        """Wait until the node can get jobs."""
        raise NotImplementedError

    def wait_until_retiring(self) -> None:
        """Wait until the batch system sends the node no more jobs: `drain begun` is logged before it is told."""
        raise NotImplementedError

    def start_job(self, seconds: float = 30, **job: Any) -> str:
        """A job that runs on it now."""
        job_id = self.pool.submit(seconds, **job) if "script" not in job else self.pool.submit(**job)
        self.pool.wait_until(lambda: self.pool.is_executing(job_id), 60, "the job runs")
        return job_id

    def start_lasting_job(self) -> str:
        """A job that runs on it now, and until `finish_jobs`; the supervisor knows of it."""
        job_id = self.start_job(script=UNTIL_TOLD)
        self.wait_for_event("payloads changed: 1 started")
        return job_id

    def finish_jobs(self) -> None:
        """Let the lasting jobs end."""
        self.worker.write_file(FINISH_PATH, "")

    def begin_lifetime(self) -> None:
        """Let the lifetime count, on a node of `BatchSite.start_lasting_node`."""
        self.worker.write_file(BEGUN_PATH, "")

    def drain(self, *options: str) -> None:
        self.worker.run(["autopilot", "drain", "--no-wait", *options])
        self.wait_for_event("drain begun")

    def read_log(self) -> list[dict[str, Any]]:
        """Return the supervisor's log lines; a job's own lines carry a `stream`."""
        lines = self.worker.read_log().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def find_events(self, pattern: str) -> list[dict[str, Any]]:
        return [line for line in self.read_log() if re.search(pattern, line["message"])]

    def wait_for_event(self, pattern: str, timeout_s: float = 60) -> dict[str, Any]:
        self.pool.wait_until(lambda: self.find_events(pattern), timeout_s, f"the log says {pattern!r}")
        return self.find_events(pattern)[0]

    def read_last_words(self) -> dict[str, Any]:
        words: dict[str, Any] = json.loads(self.worker.read_file(f"{STATE_PATH}/last-words.json"))
        return words

    def wait_for_exit(self, timeout_s: float = 60) -> int:
        return self.worker.wait(timeout_s)


class Node(BatchNode):
    """A worker node. `lifetime` None: it lives until it is told otherwise; further keys of the spec by name."""

    def __init__(
        self,
        pool: Pool,
        *,
        lifetime: dict[str, Any] | None = None,
        master: dict[str, Any] | None = None,
        spec: dict[str, Any] | None = None,
        **worker: Any,
    ) -> None:
        text = {
            "htcondor": {
                "job": "condor-master",
                "poll": "1s",
                "node": {"condor_host": "manager", "settings": SETTINGS},
            },
            "jobs": [{**MASTER, **(master or {})}],
            "logging": {"format": "json"},
            **({"lifetime": lifetime} if lifetime else {}),
            **(spec or {}),
        }
        files = {CONFIG_PATH: json.dumps(text), **worker.pop("files", {})}
        self.pool = pool
        self.worker: Host = pool.start_worker(
            ["autopilot", "run", CONFIG_PATH], env={"AUTOPILOT_STATE": STATE_PATH}, files=files, **worker
        )

    def wait_until_joined(self) -> Self:
        self.pool.wait_until(self.pool.list_slots, 60, "the worker joins the pool")
        return self

    def wait_until_retiring(self) -> None:
        """Wait until the startd has its order."""
        self.pool.wait_until(
            lambda: "Retiring" in [slot["Activity"] for slot in self.pool.list_slots()] or not self.pool.list_slots(),
            60,
            "the slot retires, or has gone",
        )


def compute_seconds_between(first: dict[str, Any], second: dict[str, Any]) -> float:
    """Of two lines of the log."""
    a, b = (datetime.fromisoformat(line["time"]) for line in (first, second))
    return (b - a).total_seconds()
