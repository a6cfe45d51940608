"""Configure Consul's agent inside the container. Pure, except `prepare_state`, which writes the files.

Measured with Consul 1.8.7: a container that returns under its node's name with another node id is refused while the
old node is still monitored, so the id is derived from the name; services that an agent remembers from the previous life
return as passing without a process, so each life begins with an empty data directory.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from autopilot.safe_files import make_own_directory, replace_file
from autopilot.spec.plan import Command, ConsulAgent

AGENT_FOLDER = "consul"  # in the state directory
LOW_MEMORY_ENV = {"GOGC": "20", "GOMAXPROCS": "1"}  # 10 MB of private memory instead of 12; one thread, not one a core


def build_command(plan: ConsulAgent, state: Path) -> Command:
    """Return the agent's command; its settings are in a file, since a process list shows arguments."""
    argv = [plan.program, "agent", "-config-file", str(get_config_path(state))]
    extra_config = ["-config-file", plan.config] if plan.config else []
    return Command(argv=(*argv, *extra_config), env=LOW_MEMORY_ENV)


def choose_node_name(plan: ConsulAgent, *, host: str, slot: str, hostname: str) -> str:
    """Return the plan's node name, else one from the watchdog's host and slot, else one from the hostname.

    Host and slot outlive the container, its hostname does not.
    """
    if plan.node:
        return plan.node
    return f"wn-{host}-{slot}" if host and slot else f"wn-{hostname}"


def derive_node_id(datacenter: str, node: str) -> str:
    """Return the node id (a UUID) that belongs to a node's name."""
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
    """Return the agent's configuration.

    Args:
        plan: The `consul_agent` section.
        node: The node's name.
        listen_address: host:port of the agent's HTTP API.
        bind_address: The address at which other agents reach this one; "" leaves the choice to Consul.
        data_dir: The agent's data directory.
        meta: Metadata of the node, completed by the plan's.
        token: The agent's ACL token, "" for none.
    """
    host, _, port = listen_address.rpartition(":")
    settings: dict[str, Any] = {
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
        settings["bind_addr"] = plan.bind or bind_address
    if token:
        settings["acl"] = {"enabled": True, "tokens": {"agent": token}}
    return settings


def prepare_state(state: Path, agent_settings: Mapping[str, Any], on_moved: Callable[[str], None]) -> None:
    """Empty the agent's data directory and write its configuration, which only our user may read: it has the token.

    Args:
        state: The state directory. Another program may have put links or files into it.
        agent_settings: The agent's configuration; its `data_dir` is `get_data_directory(state)`.
        on_moved: Gets a sentence when something had to be moved aside.

    Raises:
        OSError: The directory or the file cannot be written.
    """
    folder = make_own_directory(state / AGENT_FOLDER, 0o700, on_moved)
    try:
        data = get_data_directory(state)
        os.close(make_own_directory(data, 0o700, on_moved))  # moves a link aside: rmtree would refuse it
        shutil.rmtree(data.name, dir_fd=folder)
        os.mkdir(data.name, 0o700, dir_fd=folder)
    finally:
        os.close(folder)
    write_configuration(state, agent_settings, on_moved)


def write_configuration(state: Path, agent_settings: Mapping[str, Any], on_moved: Callable[[str], None]) -> None:
    """Write the agent's configuration alone; raise OSError when that is not possible."""
    replace_file(get_config_path(state), json.dumps(agent_settings, indent=1).encode(), 0o600, on_moved=on_moved)


def get_data_directory(state: Path) -> Path:
    """Return the agent's data directory inside the state directory."""
    return state / AGENT_FOLDER / "data"


def get_config_path(state: Path) -> Path:
    """Return the file of the agent's configuration."""
    return state / AGENT_FOLDER / "agent.json"
