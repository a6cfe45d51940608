"""Compare a job spec with the running plan, for `autopilot plan --diff`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autopilot.machines import plan_changes
from autopilot.spec.plan import Plan
from autopilot.spec.plan_data import deserialize_plan, serialize_plan

ValuePair = tuple[Any, Any]

PLANNED_CHANGE_PHRASES = {  # by the field of `Changes`; the state of the jobs is not known here
    "added": "would be added",
    "restarted": "would be restarted, if it runs",
    "updated": "would be updated without a restart",
    "removed": "would be stopped and removed",
}


def compute_difference(running: dict[str, Any], plan: Plan, mask: Callable[[Any], Any]) -> dict[str, Any]:
    """Compare a plan with the running one.

    Args:
        running: Answer of /v1/plan.
        plan: Plan that a reload would apply.
        mask: Function that hides secrets in plan data.

    Returns:
        `jobs`: names of jobs by their change; `refused`: reasons for which a reload would be refused; `values`: path,
        running value and new value of each difference.
    """
    old = deserialize_plan(running["plan"])
    if plan.consul_agent is not None:
        from autopilot.app import agent_job  # only for plans with an agent

        plan = agent_job.complete_plan(plan, Path(running["state"]))
    changes = plan_changes.compare_plans(old, plan)
    paths = {
        path for path, _ in _list_differences(_map_by_name(serialize_plan(old)), _map_by_name(serialize_plan(plan)))
    }
    masked = dict(_list_differences(_map_by_name(mask(serialize_plan(old))), _map_by_name(mask(serialize_plan(plan)))))
    return {
        "jobs": {kind: list(getattr(changes, kind)) for kind in PLANNED_CHANGE_PHRASES},
        "refused": plan_changes.list_refusals(old, plan),
        "values": [
            {"path": path, "running": masked.get(path, _MASKED_PAIR)[0], "file": masked.get(path, _MASKED_PAIR)[1]}
            for path in sorted(paths)
        ],
    }


_MASKED_PAIR: ValuePair = ("*** (another one)", "***")


def format_difference(comparison: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that describe a difference, as `compute_difference` returns it."""
    jobs = [f"{job}: {PLANNED_CHANGE_PHRASES[kind]}" for kind, names in comparison["jobs"].items() for job in names]
    values = [f"{v['path']}: {_format_value(v['running'])} -> {_format_value(v['file'])}" for v in comparison["values"]]
    yield from jobs
    yield from (f"a reload would be refused: {reason}" for reason in comparison["refused"])
    yield from values
    if not jobs and not values:
        yield "no difference"


def _format_value(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _map_by_name(data: dict[str, Any]) -> dict[str, Any]:
    """Turn lists of named things into objects, so that an insertion does not make all later items differ."""
    named = ("jobs", "watches", "locks")
    return {key: {item["name"]: item for item in value} if key in named else value for key, value in data.items()}


def _list_differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, ValuePair]]:
    """Yield each path at which the two differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{path}[{key}]" if path in ("jobs", "watches", "locks") else f"{path}.{key}" if path else key
            yield from _list_differences(old.get(key), new.get(key), where)
    elif old != new:
        yield path, (old, new)
