"""Another plan for the running life: read, looked at, and either taken whole or refused whole.

Validation runs as a command beside the jobs, so that it takes no time of theirs; its answer is a file in the state
directory, because a plan may hold secrets. Nothing is touched before everything that can be wrong has been looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from autopilot.machines import plan_changes
from autopilot.runtime.command_runner import CommandRunner
from autopilot.spec.load_result import SpecError, ValidatorError
from autopilot.spec.plan import Command, Plan
from autopilot.spec.validation_child import VALIDATION_TIMEOUT_S, parse_answer

if TYPE_CHECKING:
    from autopilot.api.messages import ReloadResult

# finds us where we were found: that may be a place that only our own start knows
VALIDATE_SCRIPT = """
import json, sys
path, *arguments = sys.argv[1:]
sys.path[:] = json.loads(path)
from autopilot.spec.validation_child import main
main(*arguments)
"""


class ReloadError(Exception):
    """The life goes on as it was: `reasons` is one sentence for each problem, with its place where it has one."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


async def read_plan(config: Path, state: Path, commands: CommandRunner) -> tuple[Plan, list[str]]:
    """The plan that `config` describes now, and what it warns of. Raises CannotReload."""
    answer = state / f"reload.{os.getpid()}.json"
    argv = (sys.executable, "-c", VALIDATE_SCRIPT, json.dumps(sys.path), os.fspath(config), os.fspath(answer))
    try:
        done = await commands.run(Command(argv=argv), timeout=VALIDATION_TIMEOUT_S, name="reload")
        how = (
            f"not done within {VALIDATION_TIMEOUT_S:g} s"
            if done.timed_out
            else f"exit code {done.status}: {done.output}"
        )
        try:
            loaded = parse_answer(answer.read_bytes() if answer.exists() else b"", how)
        except SpecError as error:
            raise ReloadError(*map(str, error.problems)) from None
        except (ValidatorError, OSError) as error:
            raise ReloadError(str(error)) from None
    finally:
        answer.unlink(missing_ok=True)
    plan = loaded.plan
    if plan.consul_agent is not None:
        from autopilot.app import agent_job  # loaded by those who use it

        plan = agent_job.complete_plan(plan, state)
    return plan, [str(warning) for warning in loaded.warnings]


class Reloader:
    """One reload at a time; each reads the config as it is when its turn comes."""

    def __init__(
        self,
        config: Path,
        state: Path,
        *,
        commands: CommandRunner,
        get_plan: Callable[[], Plan],
        apply_plan: Callable[[Plan], None],
        is_ending: Callable[[], bool],
    ) -> None:
        """`plan` is the one that is followed now; `adopt` takes another, or raises CannotReload."""
        self._config, self._state, self._commands = config, state, commands
        self._get_plan, self._apply_plan, self._is_ending = get_plan, apply_plan, is_ending
        self._lock = asyncio.Lock()
        self.plan_applied = asyncio.Event()  # no job that the last plan ended is left

    async def reload(self, *, wait: bool) -> ReloadResult:
        """What it did: names of jobs by what became of them; `wait`: not before those that had to end have ended.
        Raises CannotReload, with everything as it was."""
        done = await self._reload_in_turn()
        if wait:
            await self.plan_applied.wait()
        return done

    async def _reload_in_turn(self) -> ReloadResult:
        async with self._lock:
            plan, warnings = await read_plan(self._config, self._state, self._commands)
            if self._is_ending():
                raise ReloadError("everything is being stopped")
            old = self._get_plan()
            if refusals := plan_changes.list_refusals(old, plan):
                raise ReloadError(*refusals)
            self.plan_applied.clear()
            self._apply_plan(plan)
            return describe_changes(plan_changes.compare_plans(old, plan), plan, warnings)


def describe_changes(diff: plan_changes.Changes, plan: Plan, warnings: list[str]) -> ReloadResult:
    touched = {*diff.started, *diff.restarted}
    return {
        "started": list(diff.started),
        "restarted": list(diff.restarted),
        "updated": list(diff.updated),
        "removed": list(diff.removed),
        "unchanged": [job.name for job in plan.jobs if job.name not in touched | set(diff.updated)],
        "sections": list(diff.sections),
        "warnings": warnings,
    }
