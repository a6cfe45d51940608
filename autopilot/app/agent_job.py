"""Consul's agent as a job: its command and its configuration, once the state directory and the host are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from autopilot.adapters.consul import agent
from autopilot.adapters.consul.access import Access
from autopilot.app.surroundings import Surroundings
from autopilot.spec.plan import Plan


def completed(plan: Plan, state: Path) -> Plan:
    """The plan with the agent's whole command."""
    planned = plan.consul_agent
    assert planned is not None, "asked for plans with an agent"
    command = agent.command(planned, state)
    return replace(plan, jobs=tuple(replace(j, command=command) if j.name == planned.job else j for j in plan.jobs))


def prepare(
    plan: Plan, state: Path, *, where: Surroundings, bind: str, about: Mapping[str, str], reached: Access
) -> None:
    """Write what the agent reads at its start. Raises OSError."""
    planned, consul = plan.consul_agent, plan.consul
    assert planned is not None and consul is not None, "asked for plans with an agent"
    node = agent.node_name(planned, host=where.host, slot=where.slot, hostname=where.hostname)
    found = agent.settings(
        planned,
        node=node,
        listen=consul.address,
        bind=bind,
        data=agent.data_directory(state),
        meta={**about, "docker-host": where.host},
        token=reached.current_token(),
    )
    agent.prepare(state, found)
