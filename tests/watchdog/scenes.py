"""Configurations and virtual hosts for tests of the pure core."""

from __future__ import annotations

import json

from autopilot_watchdog.config.model import Config
from autopilot_watchdog.config.reading import read
from autopilot_watchdog.simulation.world import Behaviour, Host, Registry

A, B, C = ("sha256:" + letter * 64 for letter in "abc")
BEGIN = 1_800_000_000.0
IMAGE = "registry.example.org/site/worker-node:stable"
KEY = f"docker {IMAGE}"
AT_ONCE = {"rings": [{"share": "100%", "after": "0s"}], "spread": "0s"}


def config(host: str = "h1", count: int = 2, rollout: object = AT_ONCE, group: object = None, **rest: object) -> Config:
    slots = [{"name": "wn-NN", "image": IMAGE, "count": count, **(group or {})}]
    return read(json.dumps({"host": host, "slots": slots, "rollout": rollout, **rest}))


def host(registry: Registry | None = None, of: Config | None = None, **rest) -> Host:
    return Host(of or config(), registry or Registry([(0, A)]), **rest)


def failing(digest: str, after: float = 1.0) -> dict[str, Behaviour]:
    return {digest: Behaviour(fails_after=after)}


def run(host: Host, begin: float, seconds: float, every: float = 60.0) -> float:
    """Passes as `watch` makes them: when something ends, when something is due, and every so often."""
    now, end = begin, begin + seconds
    while now < end:
        wake = host.run(now)
        times = [time for time in (wake, host.next_end()) if time is not None and time > now]
        now = min([*times, now + every])
    return end
