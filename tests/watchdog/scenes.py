"""Build configurations and virtual hosts for tests of the pure core."""

from __future__ import annotations

import json
from typing import Any

from autopilot_watchdog.config.config_model import Config
from autopilot_watchdog.config.config_reader import parse_config
from autopilot_watchdog.simulation.simulated_host import SimulatedHost
from autopilot_watchdog.simulation.simulated_registry import DigestBehaviour, SimulatedRegistry

A, B, C = ("sha256:" + letter * 64 for letter in "abc")
BEGIN = 1_800_000_000.0
IMAGE = "registry.example.org/site/worker-node:stable"
KEY = f"docker {IMAGE}"
AT_ONCE = {"rings": [{"share": "100%", "after": "0s"}], "spread": "0s"}


def build_config(
    host: str = "h1", count: int = 2, rollout: object = AT_ONCE, group: dict[str, Any] | None = None, **rest: object
) -> Config:
    """Build a configuration with one group of slots."""
    slots = [{"name": "wn-NN", "image": IMAGE, "count": count, **(group or {})}]
    return parse_config(json.dumps({"host": host, "slots": slots, "rollout": rollout, **rest}))


def build_host(
    registry: SimulatedRegistry | None = None, configuration: Config | None = None, **options: Any
) -> SimulatedHost:
    """Build a virtual host; by default with two slots, and a registry that always has A."""
    return SimulatedHost(configuration or build_config(), registry or SimulatedRegistry([(0, A)]), **options)


def build_failing_behaviour(digest: str, after: float = 1.0) -> dict[str, DigestBehaviour]:
    """Let the containers of a digest fail at an age in seconds."""
    return {digest: DigestBehaviour(fails_after=after)}


def run_passes(host: SimulatedHost, begin: float, seconds: float, every: float = 60.0) -> float:
    """Run passes as `watch` does: at the end of a container, when an action is due, and every so often."""
    now, end = begin, begin + seconds
    while now < end:
        wake = host.run_pass(now)
        times = [time for time in (wake, host.engine.find_next_end()) if time is not None and time > now]
        now = min([*times, now + every])
    return end
