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

AGENT_FOLDER = "consul"  # in the state directory
LOW_MEMORY_ENV = {
    "GOGC": "20",
    "GOMAXPROCS": "1",
}  # 10 MB of private memory, not 12, and no thread for each core of a big host


def build_command(plan: ConsulAgent, state: Path) -> Command:
    """How the agent is started; its settings are in a file, where no process list shows them."""
    argv = [plan.program, "agent", "-config-file", str(_get_config_path(state))]
    further = ["-config-file", plan.config] if plan.config else []
    return Command(argv=(*argv, *further), env=LOW_MEMORY_ENV)


def choose_node_name(plan: ConsulAgent, *, host: str, slot: str, hostname: str) -> str:
    """The plan's; else the watchdog's host and slot, which outlive the container; else the hostname."""
    if plan.node:
        return plan.node
    return f"wn-{host}-{slot}" if host and slot else f"wn-{hostname}"


def derive_node_id(datacenter: str, node: str) -> str:
    return str(uuid5(NAMESPACE_DNS, f"{datacenter}/{node}"))


def build_settings(
    plan: ConsulAgent,
    *,
    node: str,
    listen_address: str,
    bind_address: str,
    data_dir: Path,
    meta: Mapping[str, str],
    token: str,
) -> dict[str, Any]:
    """The agent's configuration. `listen`: host:port of its HTTP API; `bind`: where other agents reach it."""
    host, _, port = listen_address.rpartition(":")
    found: dict[str, Any] = {
        "datacenter": plan.datacenter,
        "node_name": node,
        "node_id": derive_node_id(plan.datacenter, node),
        "node_meta": {key.replace("-", "_"): value for key, value in {**meta, **plan.meta}.items() if value},
        "data_dir": str(data_dir),
        "client_addr": host.strip("[]"),
        "ports": {"http": int(port), "dns": -1, "grpc": -1},
        "retry_join": list(plan.join),
        "retry_interval": "1s",
        "disable_host_node_id": True,
        "disable_update_check": True,
        "log_level": "warn",
    }
    if plan.bind or bind_address:
        found["bind_addr"] = plan.bind or bind_address
    if token:
        found["acl"] = {"enabled": True, "tokens": {"agent": token}}
    return found


def prepare_state(state: Path, agent_settings: Mapping[str, Any]) -> None:
    """An empty data directory, and the configuration, readable by us alone: it may hold a token. Raises OSError."""
    data = Path(agent_settings["data_dir"])
    if data.exists():
        shutil.rmtree(data)
    data.mkdir(parents=True, mode=0o700)
    descriptor = os.open(_get_config_path(state), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(agent_settings, file, indent=1)


def get_data_directory(state: Path) -> Path:
    return state / AGENT_FOLDER / "data"


def _get_config_path(state: Path) -> Path:
    return state / AGENT_FOLDER / "agent.json"
