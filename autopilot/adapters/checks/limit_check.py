"""Check that a job's processes get the resource limits that they need."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from autopilot.adapters.checks.check_context import CheckContext, CheckResult
from autopilot.adapters.checks.child_check import ChildProbe, list_child_settings, run_in_child
from autopilot.process.cgroup_paths import UNIFIED, find_cgroup_path
from autopilot.process.pseudo_files import read_text
from autopilot.spec.plan import Command

BATCH_SYSTEM = None
UNLIMITED = -1
PIDS = "pids"  # the most processes and threads of the container, a limit of its cgroup
CGROUP_ROOT = "/sys/fs/cgroup"
MEMBERSHIP_PATH = "/proc/self/cgroup"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitProbe(ChildProbe):
    """Settings of a check of limits: the least value of each, -1 for unlimited."""

    kind: ClassVar[str] = "limit"

    least: Mapping[str, int]


PROBE_TYPE = LimitProbe


def build_field() -> tuple[Any, Any]:
    """Return the annotation and the pydantic field of the key `limit`."""
    from typing import Annotated

    from pydantic import Field, PlainValidator, WithJsonSchema

    from autopilot.spec import os_names

    def parse(value: Any) -> dict[str, int]:
        return os_names.parse_limits(value, also=(PIDS,))

    schema = WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number"]}})
    annotation = Annotated[dict[str, int] | None, PlainValidator(parse), schema]
    return annotation, Field(
        default=None, description="the least values of limits, e.g. {nofile: 65536}; pids: of the whole container"
    )


def compile_probe(value: Any, *, build_command: Callable[[tuple[str, ...]], Command], raw: bool) -> LimitProbe:
    """Return the settings for the plan."""
    return LimitProbe(least=value, **list_child_settings(build_command))


async def run(probe: LimitProbe, context: CheckContext) -> CheckResult:
    """Start a process, give it the limits of the job, and compare those that it has then."""
    return await run_in_child(probe, context, "cannot start a process with the job's limits")


def examine(probe: LimitProbe) -> CheckResult:
    """Compare the limits of this process with the wanted ones."""
    found = {name: _read_limit(name) for name in probe.least}
    low = [name for name, least in probe.least.items() if _is_lower(found[name], least)]
    if low:
        parts = [f"{name} is {_format(found[name])}, needed {_format(probe.least[name])}" for name in low]
        return False, f"too low for the jobs: {'; '.join(parts)}"
    return True, ", ".join(f"{name} is {_format(value)}" for name, value in found.items())


def _read_limit(name: str) -> int:
    if name == PIDS:
        return _read_pids_limit()
    return resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[0]


def _read_pids_limit() -> int:
    """Return the lowest limit on processes of this cgroup and those above it, as far as they can be seen."""
    text = read_text(MEMBERSHIP_PATH)
    path, root = find_cgroup_path(text, [PIDS]), os.path.join(CGROUP_ROOT, PIDS)
    if path is None:
        path, root = find_cgroup_path(text, [UNIFIED]), CGROUP_ROOT
    values = []
    parts = [part for part in (path or "").split("/") if part]
    for count in range(len(parts) + 1):
        value = read_text(os.path.join(root, *parts[:count], "pids.max")).strip()
        if value.isdigit():
            values.append(int(value))
    return min(values, default=UNLIMITED)


def _is_lower(value: int, least: int) -> bool:
    if value == UNLIMITED:
        return False
    return least == UNLIMITED or value < least


def _format(value: int) -> str:
    return "unlimited" if value == UNLIMITED else str(value)
