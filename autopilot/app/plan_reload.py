"""Read another plan for the running life, check it, and either follow it whole or refuse it whole.

Validation runs as a command beside the jobs, so that it takes no time of theirs; its answer is a file in the state
directory, because a plan may hold secrets. Nothing changes before everything that can fail has been checked.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autopilot.app.life_context import LifeContext
from autopilot.app.paths import NoConfigError, find_default_config
from autopilot.errors import AutopilotError
from autopilot.machines import plan_changes
from autopilot.machines.events import Event, PlanAdopted, PlanApplied
from autopilot.runtime.command_runner import CommandRunner
from autopilot.safe_files import read_file
from autopilot.spec.load_result import SpecError, ValidatorError
from autopilot.spec.plan import Command, Plan
from autopilot.spec.validation_child import VALIDATION_TIMEOUT_S, parse_answer

if TYPE_CHECKING:
    from autopilot.api.messages import ReloadResult

MAX_ANSWER_BYTES = 64 << 20  # a plan of the largest job spec has a few

# the child gets our own import path: it may be known to our start only
VALIDATE_SCRIPT = """
import json, sys
path, *arguments = sys.argv[1:]
sys.path[:] = json.loads(path)
from autopilot.spec.validation_child import main
main(*arguments)
"""


class ReloadError(AutopilotError):
    """A reload that was refused: the life continues as before.

    `reasons` has one sentence for each problem, with its place in the job spec where it has one.
    """

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class PlanTarget(Protocol):
    """The running life, as far as a reload needs it."""

    def get_plan(self) -> Plan:
        """Return the plan that is followed now."""
        ...

    def apply_plan(self, plan: Plan) -> None:
        """Follow `plan` from now on.

        Raises:
            ReloadError: A section cannot be used; nothing has changed.
        """
        ...

    def count_runs(self) -> Mapping[str, int]:
        """Return the number of runs of each job, with the run to come of a job that is being replaced."""
        ...

    def count_begun_runs(self) -> Mapping[str, int]:
        """Return the same number; 0 for a job that waits for its lock."""
        ...

    def is_ending(self) -> bool:
        """Return True when everything is being stopped."""
        ...


async def read_plan(
    config: Path, state: Path, commands: CommandRunner, *, containerpilot: bool = False
) -> tuple[Plan, list[str]]:
    """Validate `config` in a child process.

    Args:
        config: The job spec.
        state: The state directory.
        commands: Runs the child.
        containerpilot: Leave out warnings about what that program takes without a word.

    Returns:
        The plan, and the warnings.

    Raises:
        ReloadError: The job spec has problems, or could not be validated.
    """
    answer = state / f"reload.{os.getpid()}.{os.urandom(4).hex()}.json"
    arguments = (json.dumps(sys.path), os.fspath(config), os.fspath(answer))
    argv = (sys.executable, "-X", "utf8", "-c", VALIDATE_SCRIPT, *arguments)
    try:
        done = await commands.run(Command(argv=argv), timeout=VALIDATION_TIMEOUT_S, name="reload")
        child_end = (
            f"not done within {VALIDATION_TIMEOUT_S:g} s"
            if done.timed_out
            else f"exit code {done.status}: {done.output}"
        )
        try:
            loaded = parse_answer(_read_answer(answer), child_end)
        except SpecError as error:
            raise ReloadError(*map(str, error.problems)) from None
        except (ValidatorError, OSError) as error:
            raise ReloadError(str(error)) from None
    finally:
        answer.unlink(missing_ok=True)
    plan = loaded.plan
    if plan.consul_agent is not None:
        from autopilot.app import agent_job  # loaded only when used

        plan = agent_job.complete_plan(plan, state)
    return plan, [str(warning) for warning in loaded.warnings if not (containerpilot and warning.customary)]


def _read_answer(path: Path) -> bytes:
    """Return the child's answer; b"" when it gave none."""
    try:
        return read_file(path, MAX_ANSWER_BYTES)
    except FileNotFoundError:
        return b""


class Reloader:
    """The reloads of one life, one at a time; each reads the job spec as it is when its turn comes."""

    def __init__(
        self, config: Path, state: Path, commands: CommandRunner, target: PlanTarget, *, containerpilot: bool = False
    ) -> None:
        self._config, self._state, self._commands, self._target = config, state, commands, target
        self._containerpilot = containerpilot
        self._lock = asyncio.Lock()
        self._changes = plan_changes.Changes()  # of the last reload
        self._plan_applied = asyncio.Event()  # no job that the last plan ended remains

    async def reload(self, *, wait: bool) -> ReloadResult:
        """Read the job spec and follow it.

        Args:
            wait: Return only after the jobs that had to end have ended.

        Returns:
            Names of jobs by the change, as `describe_changes` does.

        Raises:
            ReloadError: The reload was refused; nothing has changed.
        """
        describe = await self._reload_in_turn()
        if wait:
            await self._plan_applied.wait()
        return describe(runs_after=self._target.count_begun_runs())

    def on_event(self, event: Event) -> None:
        """Note the changes by the last plan, and that it is in effect."""
        match event:
            case PlanAdopted():
                self._changes = event.changes
            case PlanApplied():
                self._plan_applied.set()

    async def _reload_in_turn(self) -> Callable[..., ReloadResult]:
        """Follow the job spec, and return `describe_changes` without its `runs_after`."""
        async with self._lock:
            plan, warnings = await read_plan(
                self._config, self._state, self._commands, containerpilot=self._containerpilot
            )
            if self._target.is_ending():
                raise ReloadError("everything is being stopped")
            old = self._target.get_plan()
            if refusals := plan_changes.list_refusals(old, plan):
                raise ReloadError(*refusals)
            self._plan_applied.clear()
            runs_before = self._target.count_runs()
            self._target.apply_plan(plan)
            return partial(describe_changes, self._changes, plan, warnings, runs_before=runs_before)


async def read_found_config(life: LifeContext, commands: CommandRunner) -> tuple[Plan, list[str]]:
    """Look for a job spec again in a life that has none, and validate it.

    Returns:
        The plan, and the warnings.

    Raises:
        ReloadError: There is still no job spec, or it has problems.
    """
    try:
        config = Path(find_default_config(life.env, life.containerpilot))
    except NoConfigError as error:
        raise ReloadError(str(error)) from None
    return await read_plan(config, life.state_directory, commands, containerpilot=life.containerpilot)


def describe_changes(
    changes: plan_changes.Changes,
    new: Plan,
    warnings: list[str],
    *,
    runs_before: Mapping[str, int],
    runs_after: Mapping[str, int],
) -> ReloadResult:
    """Return the answer to a reload: names of jobs by their change, changed sections, and warnings.

    Args:
        changes: The differences to the plan before.
        new: The new plan.
        warnings: Warnings about the job spec.
        runs_before: Number of runs of each job before the reload.
        runs_after: Number of runs of each job now; 0 for one that waits for its lock.
    """
    changed = {*changes.added, *changes.restarted, *changes.updated}
    have_started = {name for name, runs in runs_after.items() if runs > runs_before.get(name, 0)}
    return {
        "started": [name for name in changes.added if name in have_started],
        "restarted": [name for name in changes.restarted if name in have_started],
        "not_started": [name for name in (*changes.added, *changes.restarted) if name not in have_started],
        "updated": list(changes.updated),
        "removed": list(changes.removed),
        "unchanged": [job.name for job in new.jobs if job.name not in changed],
        "sections": list(changes.sections),
        "warnings": warnings,
    }
