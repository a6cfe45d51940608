"""Consul's agent inside the container: the recipe of its configuration. Pure but for `prepare`, which writes it.

What was measured decides (Consul 1.8.7): a container that is made again under its node's name with another node id is
refused for as long as the old node is watched, so the id comes from the name; services that an agent remembers from
the life before come back as ghosts, so every life begins with an empty data directory.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from autopilot.spec.plan import Command, ConsulAgent

FOLDER = "consul"  # in the state directory
FRUGAL = {"GOGC": "20", "GOMAXPROCS": "1"}  # 10 MB of private memory, not 12, and no thread for each core of a big host


def command(plan: ConsulAgent, state: Path) -> Command:
    """How the agent is started; its settings are in a file, where no process list shows them."""
    argv = [plan.program, "agent", "-config-file", str(_file(state))]
    further = ["-config-file", plan.config] if plan.config else []
    return Command(argv=(*argv, *further), env=FRUGAL)


def node_name(plan: ConsulAgent, *, host: str, slot: str, hostname: str) -> str:
    """The plan's; else the watchdog's host and slot, which outlive the container; else the hostname."""
    if plan.node:
        return plan.node
    return f"wn-{host}-{slot}" if host and slot else f"wn-{hostname}"


def node_id(datacenter: str, node: str) -> str:
    return str(uuid5(NAMESPACE_DNS, f"{datacenter}/{node}"))


def settings(
    plan: ConsulAgent, *, node: str, listen: str, bind: str, data: Path, meta: Mapping[str, str], token: str
) -> dict[str, Any]:
    """The agent's configuration. `listen`: host:port of its HTTP API; `bind`: where other agents reach it."""
    host, _, port = listen.rpartition(":")
    found: dict[str, Any] = {
        "datacenter": plan.datacenter,
        "node_name": node,
        "node_id": node_id(plan.datacenter, node),
        "node_meta": {key.replace("-", "_"): value for key, value in {**meta, **plan.meta}.items() if value},
        "data_dir": str(data),
        "client_addr": host.strip("[]"),
        "ports": {"http": int(port), "dns": -1, "grpc": -1},
        "retry_join": list(plan.join),
        "retry_interval": "1s",
        "disable_host_node_id": True,
        "disable_update_check": True,
        "log_level": "warn",
    }
    if plan.bind or bind:
        found["bind_addr"] = plan.bind or bind
    if token:
        found["acl"] = {"enabled": True, "tokens": {"agent": token}}
    return found


def prepare(state: Path, found: Mapping[str, Any]) -> None:
    """An empty data directory, and the configuration, readable by us alone: it may hold a token. Raises OSError."""
    data = Path(found["data_dir"])
    if data.exists():
        shutil.rmtree(data)
    data.mkdir(parents=True, mode=0o700)
    descriptor = os.open(_file(state), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)


def data_directory(state: Path) -> Path:
    return state / FOLDER / "data"


def _file(state: Path) -> Path:
    return state / FOLDER / "agent.json"
