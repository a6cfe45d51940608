"""What a job spec would change in the running life: for `autopilot plan --diff`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autopilot.machines import plan_changes
from autopilot.spec.plan import Plan
from autopilot.spec.plan_data import deserialize_plan, serialize_plan

CHANGE_PHRASES = {
    "started": "would be started",
    "restarted": "would be restarted",
    "updated": "would go on by other rules",
    "removed": "would be stopped and removed",
}

ValuePair = tuple[Any, Any]


def compute_difference(running: dict[str, Any], plan: Plan, mask: Any) -> dict[str, Any]:
    """What would become of which job, why a reload would refuse, and each value that differs. `running` is what
    /v1/plan answers; `mask` hides what looks like a secret in a plan's data."""
    old = deserialize_plan(running["plan"])
    if plan.consul_agent is not None:
        from autopilot.app import agent_job  # loaded by those who use it

        plan = agent_job.complete_plan(plan, Path(running["state"]))
    what = plan_changes.compare_plans(old, plan)
    told = {
        path for path, _ in _list_differences(_map_by_name(serialize_plan(old)), _map_by_name(serialize_plan(plan)))
    }
    shown = dict(_list_differences(_map_by_name(mask(serialize_plan(old))), _map_by_name(mask(serialize_plan(plan)))))
    return {
        "jobs": {verb: list(getattr(what, verb)) for verb in CHANGE_PHRASES},
        "refused": plan_changes.list_refusals(old, plan),
        "values": [
            {"path": path, "running": shown.get(path, _MASKED_PAIR)[0], "file": shown.get(path, _MASKED_PAIR)[1]}
            for path in sorted(told)
        ],
    }


_MASKED_PAIR: ValuePair = ("*** (another one)", "***")


def format_difference(comparison: dict[str, Any]) -> Iterator[str]:
    jobs = [f"{job}: {CHANGE_PHRASES[verb]}" for verb, names in comparison["jobs"].items() for job in names]
    values = [f"{v['path']}: {_format_value(v['running'])} -> {_format_value(v['file'])}" for v in comparison["values"]]
    yield from jobs
    yield from (f"a reload would be refused: {reason}" for reason in comparison["refused"])
    yield from values
    if not jobs and not values:
        yield "no difference"


def _format_value(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _map_by_name(data: dict[str, Any]) -> dict[str, Any]:
    """Lists of things with names as objects, so that one more at the front does not make all of them differ."""
    named = ("jobs", "watches", "locks")
    return {key: {item["name"]: item for item in value} if key in named else value for key, value in data.items()}


def _list_differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, ValuePair]]:
    """Each path at which the two differ, and what is there."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{path}[{key}]" if path in ("jobs", "watches", "locks") else f"{path}.{key}" if path else key
            yield from _list_differences(old.get(key), new.get(key), where)
    elif old != new:
        yield path, (old, new)
