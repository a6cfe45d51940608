"""What a job spec would change in the running life: for `autopilot plan --diff`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autopilot.machines import changes
from autopilot.spec.plan import Plan
from autopilot.spec.plandata import plan_from_data, plan_to_data

SAID = {
    "started": "would be started",
    "restarted": "would be restarted",
    "updated": "would go on by other rules",
    "removed": "would be stopped and removed",
}

Leaf = tuple[Any, Any]


def difference(running: dict[str, Any], plan: Plan, mask: Any) -> dict[str, Any]:
    """What would become of which job, why a reload would refuse, and each value that differs. `running` is what
    /v1/plan answers; `mask` hides what looks like a secret in a plan's data."""
    old = plan_from_data(running["plan"])
    if plan.consul_agent is not None:
        from autopilot.app import agent_job  # loaded by those who use it

        plan = agent_job.completed(plan, Path(running["state"]))
    what = changes.between(old, plan)
    told = {path for path, _ in _leaves(_by_name(plan_to_data(old)), _by_name(plan_to_data(plan)))}
    shown = dict(_leaves(_by_name(mask(plan_to_data(old))), _by_name(mask(plan_to_data(plan)))))
    return {
        "jobs": {verb: list(getattr(what, verb)) for verb in SAID},
        "refused": changes.refusals(old, plan),
        "values": [
            {"path": path, "running": shown.get(path, _HIDDEN)[0], "file": shown.get(path, _HIDDEN)[1]}
            for path in sorted(told)
        ],
    }


_HIDDEN: Leaf = ("*** (another one)", "***")


def as_text(found: dict[str, Any]) -> Iterator[str]:
    jobs = [f"{job}: {SAID[verb]}" for verb, names in found["jobs"].items() for job in names]
    values = [f"{v['path']}: {_short(v['running'])} -> {_short(v['file'])}" for v in found["values"]]
    yield from jobs
    yield from (f"a reload would be refused: {reason}" for reason in found["refused"])
    yield from values
    if not jobs and not values:
        yield "no difference"


def _short(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _by_name(data: dict[str, Any]) -> dict[str, Any]:
    """Lists of things with names as objects, so that one more at the front does not make all of them differ."""
    named = ("jobs", "watches", "locks")
    return {key: {item["name"]: item for item in value} if key in named else value for key, value in data.items()}


def _leaves(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Leaf]]:
    """Each path at which the two differ, and what is there."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{path}[{key}]" if path in ("jobs", "watches", "locks") else f"{path}.{key}" if path else key
            yield from _leaves(old.get(key), new.get(key), where)
    elif old != new:
        yield path, (old, new)
