"""Consul's agent as a job: its command and its configuration, once the state directory and the host are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from autopilot.adapters.consul import agent_config
from autopilot.adapters.consul.connection_settings import ConnectionSettings
from autopilot.app.container_info import ContainerInfo
from autopilot.spec.plan import Plan


def complete_plan(plan: Plan, state: Path) -> Plan:
    """The plan with the agent's whole command."""
    planned = plan.consul_agent
    assert planned is not None, "asked for plans with an agent"
    command = agent_config.build_command(planned, state)
    return replace(plan, jobs=tuple(replace(j, command=command) if j.name == planned.job else j for j in plan.jobs))


def write_agent_files(
    plan: Plan,
    state: Path,
    *,
    container_info: ContainerInfo,
    bind: str,
    metadata: Mapping[str, str],
    access: ConnectionSettings,
) -> None:
    """Write what the agent reads at its start. Raises OSError."""
    planned, consul = plan.consul_agent, plan.consul
    assert planned is not None and consul is not None, "asked for plans with an agent"
    node = agent_config.choose_node_name(
        planned, host=container_info.host, slot=container_info.slot, hostname=container_info.hostname
    )
    found = agent_config.build_settings(
        planned,
        node=node,
        listen_address=consul.address,
        bind_address=bind,
        data_dir=agent_config.get_data_directory(state),
        meta={**metadata, "docker-host": container_info.host},
        token=access.read_current_token(),
    )
    agent_config.prepare_state(state, found)
