"""Another plan for the running life: read, looked at, and either taken whole or refused whole.

Validation runs as a command beside the jobs, so that it takes no time of theirs; its answer is a file in the state
directory, because a plan may hold secrets. Nothing is touched before everything that can be wrong has been looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from autopilot.machines import changes
from autopilot.runtime.commands import CommandRunner
from autopilot.spec.child import PATIENCE, answered
from autopilot.spec.outcome import SpecError, ValidatorFailed
from autopilot.spec.plan import Command, Plan

# finds us where we were found: that may be a place that only our own start knows
VALIDATE = """
import json, sys
path, *arguments = sys.argv[1:]
sys.path[:] = json.loads(path)
from autopilot.spec.child import main
main(*arguments)
"""


class CannotReload(Exception):
    """The life goes on as it was: `reasons` is one sentence for each problem, with its place where it has one."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


async def read(config: Path, state: Path, run: CommandRunner) -> tuple[Plan, list[str]]:
    """The plan that `config` describes now, and what it warns of. Raises CannotReload."""
    answer = state / f"reload.{os.getpid()}.json"
    argv = (sys.executable, "-c", VALIDATE, json.dumps(sys.path), os.fspath(config), os.fspath(answer))
    try:
        done = await run.run(Command(argv=argv), timeout=PATIENCE, name="reload")
        how = f"not done within {PATIENCE:g} s" if done.timed_out else f"exit code {done.status}: {done.output}"
        try:
            loaded = answered(answer.read_bytes() if answer.exists() else b"", how)
        except SpecError as error:
            raise CannotReload(*map(str, error.problems)) from None
        except (ValidatorFailed, OSError) as error:
            raise CannotReload(str(error)) from None
    finally:
        answer.unlink(missing_ok=True)
    plan = loaded.plan
    if plan.consul_agent is not None:
        from autopilot.app import agent_job  # loaded by those who use it

        plan = agent_job.completed(plan, state)
    return plan, [str(warning) for warning in loaded.warnings]


class Reloader:
    """One reload at a time; each reads the config as it is when its turn comes."""

    def __init__(
        self,
        config: Path,
        state: Path,
        *,
        run: CommandRunner,
        plan: Callable[[], Plan],
        adopt: Callable[[Plan], None],
        ending: Callable[[], bool],
    ) -> None:
        """`plan` is the one that is followed now; `adopt` takes another, or raises CannotReload."""
        self._config, self._state, self._run = config, state, run
        self._plan, self._adopt, self._ending = plan, adopt, ending
        self._turn = asyncio.Lock()
        self.settled = asyncio.Event()  # no job that the last plan ended is left

    async def reload(self, *, wait: bool) -> Mapping[str, object]:
        """What it did: names of jobs by what became of them; `wait`: not before those that had to end have ended.
        Raises CannotReload, with everything as it was."""
        done = await self._reload()
        if wait:
            await self.settled.wait()
        return done

    async def _reload(self) -> Mapping[str, object]:
        async with self._turn:
            plan, warnings = await read(self._config, self._state, self._run)
            if self._ending():
                raise CannotReload("everything is being stopped")
            old = self._plan()
            if refusals := changes.refusals(old, plan):
                raise CannotReload(*refusals)
            self.settled.clear()
            self._adopt(plan)
            return described(changes.between(old, plan), plan, warnings)


def described(what: changes.Changes, plan: Plan, warnings: list[str]) -> dict[str, object]:
    touched = {*what.started, *what.restarted}
    return {
        "started": list(what.started),
        "restarted": list(what.restarted),
        "updated": list(what.updated),
        "removed": list(what.removed),
        "unchanged": [job.name for job in plan.jobs if job.name not in touched | set(what.updated)],
        "sections": list(what.sections),
        "warnings": warnings,
    }
