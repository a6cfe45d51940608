"""Complete the job that runs Consul's agent: its command, and the files that it reads at its start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autopilot.adapters.consul import agent_config
from autopilot.adapters.consul.connection_settings import ConnectionSettings
from autopilot.app.kept_files import KeptFiles, make_directory
from autopilot.app.life_context import LifeContext
from autopilot.spec.plan import Plan


def complete_plan(plan: Plan, state: Path) -> Plan:
    """Return `plan` with the agent's whole command, built for the state directory."""
    planned = plan.consul_agent
    assert planned is not None, "called for plans with an agent"
    command = agent_config.build_command(planned, state)
    return replace(plan, jobs=tuple(replace(j, command=command) if j.name == planned.job else j for j in plan.jobs))


def write_agent_files(
    plan: Plan,
    life: LifeContext,
    *,
    bind_address: str,
    access: ConnectionSettings,
    on_moved: Callable[[str], None],
    kept_files: KeptFiles,
) -> None:
    """Write the configuration that the agent reads at each of its starts.

    Args:
        plan: A plan with `consul` and `consul_agent`.
        life: Names the node and the state directory.
        bind_address: The address for traffic between agents.
        access: Gives the token.
        on_moved: Gets a sentence when something foreign had to be moved aside.
        kept_files: Makes the file and the data directory again when somebody removes them.

    Raises:
        OSError: A file cannot be written.
    """
    planned, consul, info = plan.consul_agent, plan.consul, life.container_info
    assert planned is not None and consul is not None, "called for plans with an agent"
    settings = agent_config.build_settings(
        planned,
        node=agent_config.choose_node_name(planned, host=info.host, slot=info.slot, hostname=info.hostname),
        listen_address=consul.address,
        bind_address=bind_address,
        data_dir=agent_config.get_data_directory(life.state_directory),
        meta={**life.build_metadata(), "docker-host": info.host},
        token=access.read_current_token(),
    )
    state = life.state_directory
    agent_config.prepare_state(state, settings, on_moved)
    kept_files.keep(
        agent_config.get_config_path(state), lambda: agent_config.write_configuration(state, settings, on_moved)
    )
    data = agent_config.get_data_directory(state)
    kept_files.keep(data, lambda: make_directory(data, 0o700))
