"""A real agent for each test, and what a test asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab import consul
from lab.consul import Agent


@pytest.fixture
def agent() -> Iterator[Agent]:
    """One real agent, its own server. Its log is shown when the test fails."""
    with consul.agent() as agent:
        yield agent
        print(agent.log())


def service(agent: Agent, **fields: Any) -> dict[str, Any]:
    """A spec with one job that offers a service, and is healthy at once."""
    web = {
        "name": "web",
        "exec": ["sleep", "1000"],
        "port": 8080,
        "interfaces": ["static:192.0.2.7"],
        "health": {"exec": "true", "interval": "0.5s"},
        **fields,
    }
    return {"consul": agent.http, "jobs": [web]}


def status(agent: Agent, name: str = "web") -> str | None:
    """The worst status of the service's checks, None when it is not there, or nobody can say."""
    try:
        found = agent.health(name)
    except OSError:
        return None
    states = {check["Status"] for entry in found for check in entry["Checks"]}
    return next((state for state in ("critical", "warning", "passing") if state in states), None)
