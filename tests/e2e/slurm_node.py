"""A node of a real Slurm cluster, whose PID 1 is the supervisor: munged, and a slurmd that registers itself."""

from __future__ import annotations

import json
from typing import Any, Self

from lab.lab_host import Host
from lab.slurm_cluster import SlurmCluster
from tests.e2e.node import CONFIG_PATH, STATE_PATH, BatchNode

NODE_NAME = "slot-1"
MUNGED: dict[str, Any] = {
    "name": "munged",
    "exec": ["munged", "--foreground"],
    "user": "munge",
    "restarts": "unlimited",
    "stop": {"order": 1},  # the jobs are given back with its help
    "health": {"exec": ["munge", "--no-input"], "interval": "500ms", "timeout": "5s", "ttl": "30s"},
}
SLURMD: dict[str, Any] = {
    "name": "slurmd",
    "exec": ["slurmd"],
    "essential": True,
    "when": {"source": "munged", "once": "healthy"},
    "health": {"slurm": "node", "interval": "1s", "timeout": "10s", "ttl": "60s", "failures": 3},
}


class SlurmWorker(BatchNode):
    """A node. `lifetime` None: it lives until it is told otherwise; further keys of the spec by name."""

    def __init__(
        self,
        cluster: SlurmCluster,
        *,
        lifetime: dict[str, Any] | None = None,
        main: dict[str, Any] | None = None,
        node: dict[str, Any] | None = None,
        spec: dict[str, Any] | None = None,
        **worker: Any,
    ) -> None:
        text = {
            "slurm": {"poll": "1s", "node": {"cpus": 1, "memory": "500MB", **(node or {})}},
            "jobs": [MUNGED, {**SLURMD, **(main or {})}],
            "logging": {"format": "json"},
            **({"lifetime": lifetime} if lifetime else {}),
            **(spec or {}),
        }
        files = {CONFIG_PATH: json.dumps(text), **worker.pop("files", {})}
        env = {"AUTOPILOT_STATE": STATE_PATH, "AUTOPILOT_SLOT": NODE_NAME, **worker.pop("env", {})}
        self.pool: SlurmCluster = cluster
        self.worker: Host = cluster.start_worker(["autopilot", "run", CONFIG_PATH], env=env, files=files, **worker)

    def wait_until_joined(self) -> Self:
        self.pool.wait_until(
            lambda: self.pool.list_nodes().get(NODE_NAME, "").startswith(("IDLE", "MIXED", "ALLOCATED")),
            60,
            "the node registers itself",
        )
        return self.wait_until_healthy()

    def wait_until_healthy(self) -> Self:
        """Wait until slurmctld sends jobs to the slurmd of this life."""
        self.pool.wait_until(
            lambda: any(line["job"] == SLURMD["name"] for line in self.find_events("marked healthy")),
            60,
            "slurmd is healthy",
        )
        return self

    def wait_until_retiring(self) -> None:
        """Wait until slurmctld has its order."""
        self.pool.wait_until(lambda: "DRAIN" in self.pool.list_nodes().get(NODE_NAME, ""), 60, "the node is drained")
