"""Watch the end of the batch job around this supervisor (`lifetime.within`), which a site may move while the job runs.

The first reading is needed before any job starts. Later ones only correct it: one that fails leaves the last known end
in effect, and is a condition.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from autopilot.adapters.batch.htcondor.classads import Ad, parse_ad
from autopilot.adapters.batch.outer_job_end import (
    OuterEnd,
    UnknownEndError,
    build_squeue_command,
    find_earliest,
    find_htcondor_end,
    find_slurm_job_id,
    parse_command_output,
    parse_slurm_environment,
    parse_squeue_output,
)
from autopilot.amounts import format_seconds
from autopilot.machines.cues import ConditionDetected, ConditionResolved, Cue, OuterEndObserved
from autopilot.machines.lifetime import compute_drain_budget
from autopilot.runtime.command_runner import CommandRunner
from autopilot.safe_files import read_file
from autopilot.spec.plan import Command, Lifetime, OuterJob

CONDITION = "batch-job-end-unknown"
COMMAND_TIMEOUT_S = 20.0
MAX_AD_BYTES = 1 << 20
TOLERANCE_S = 5.0  # squeue rounds, and clocks drift: a smaller change is none; the margin covers it
REMEDY = (
    "write lifetime.max as a limit for this case, or a command that prints the seconds left in lifetime.within.exec"
)


class OuterJobError(UnknownEndError):
    """This life cannot begin within its batch job: the sentence has the remedy. `is_temporary`: another job may do."""

    def __init__(self, sentence: str, *, is_temporary: bool) -> None:
        super().__init__(sentence)
        self.is_temporary = is_temporary


class OuterJobWatch:
    """The end of one batch job, as far as it is known."""

    def __init__(
        self,
        lifetime: Lifetime,
        outer_job: OuterJob,
        *,
        commands: CommandRunner,
        env: Mapping[str, str],
        report: Callable[[Cue], None],
    ) -> None:
        """Create the watch; nothing is read yet.

        Args:
            lifetime: The plan of the lifetime.
            outer_job: Its part about the batch job.
            commands: Runs a command with a time limit.
            env: The environment that the batch job gave to the supervisor.
            report: Takes a cue for the core.
        """
        self._lifetime, self._outer_job = lifetime, outer_job
        self._commands, self._env, self._report = commands, env, report
        self._started = time.time()
        self._known: OuterEnd | None = None  # the best reading
        self._reported_moment: float | None = None  # on the clock that is never set, None for no limit
        self._problem: str | None = None

    async def prepare(self) -> None:
        """Read the end for the first time.

        Raises:
            OuterJobError: It is not known and nothing else limits the life, or it is too near.
        """
        try:
            end = await self.read_end()
        except UnknownEndError as unknown:
            problem = f"the end of the batch job around this supervisor is not known: {unknown}"
            self._require_other_limit(problem)
            self._problem = f"{problem}; only lifetime.max limits this life"
            return
        self._known, self._reported_moment = end, _find_moment(end)
        if end.epoch is None:
            self._require_other_limit(f"the batch job around this supervisor has no time limit ({end.source})")
            return
        left, budget = max(0.0, end.epoch - time.time()), compute_drain_budget(self._lifetime)
        if left <= budget:
            raise OuterJobError(
                f"the batch job around this supervisor ends in {format_seconds(round(left))} ({end.source}), but the "
                f"end of a life may take {format_seconds(budget)} (lifetime.deadline, grace and the ordered stop): ask "
                "for a longer batch job, or shorten them",
                is_temporary=True,
            )

    def _require_other_limit(self, problem: str) -> None:
        if self._lifetime.max is None:
            raise OuterJobError(f"lifetime.within: {problem}; {REMEDY}", is_temporary=False)

    async def run(self) -> None:
        """Report the first reading, then read the end every `poll` seconds and report each change."""
        if self._known is not None:
            self._report_end(self._known)
        if self._problem is not None:
            self._report(ConditionDetected(CONDITION, self._problem))
        while True:
            await asyncio.sleep(self._outer_job.poll)
            await self.update()

    async def update(self) -> None:
        """Read the end again, and report it if it has moved."""
        try:
            end = await self.read_end()
        except UnknownEndError as unknown:
            self._record_problem(f"the end of the batch job cannot be read: {unknown}; the last known one counts")
            return
        known = self._known
        if known is not None and known.renewed and not end.renewed:
            self._record_problem(
                f"only the first end of the batch job can be read ({end.source}), the last known counts"
            )
            return
        if end.epoch is None and self._lifetime.max is None:
            self._record_problem(f"the batch job has no time limit any more ({end.source}): nothing limits this life")
        else:
            self._record_problem(None)
        self._known = end
        # compared with what was reported, so that small steps add up; on a clock that nobody sets: ends are wall times
        if known is None or _has_moved(self._reported_moment, _find_moment(end)):
            self._report_end(end)

    async def read_end(self) -> OuterEnd:
        """Return the end as it is known now.

        Raises:
            UnknownEndError: It is not known.
        """
        if self._outer_job.command is not None:
            return await self._ask_command(self._outer_job.command)
        ends, problems = [], []
        if (job_id := find_slurm_job_id(self._env)) is not None:
            try:
                ends.append(await self._ask_slurm(job_id))
            except UnknownEndError as unknown:
                problems.append(str(unknown))
        if "_CONDOR_JOB_AD" in self._env or "_CONDOR_MACHINE_AD" in self._env:  # a slot may be in a job of Slurm
            try:
                ends.append(self._read_htcondor_ads())
            except UnknownEndError as unknown:
                problems.append(str(unknown))
        if ends:
            return find_earliest(ends)
        raise UnknownEndError(
            "; ".join(problems) or "neither Slurm (SLURM_JOB_ID) nor HTCondor (_CONDOR_JOB_AD) started it"
        )

    async def _ask_command(self, command: Command) -> OuterEnd:
        output = await self._run_command(command)
        return parse_command_output(output, time.time(), command.argv[0])

    async def _ask_slurm(self, job_id: str) -> OuterEnd:
        try:
            output = await self._run_command(Command(argv=build_squeue_command(job_id)))
            return parse_squeue_output(output, time.time())
        except UnknownEndError as refusal:
            with suppress(UnknownEndError):
                return parse_slurm_environment(self._env)
            raise UnknownEndError(f"{refusal}, and SLURM_JOB_END_TIME is not set") from None

    async def _run_command(self, command: Command) -> str:
        result = await self._commands.run(command, timeout=COMMAND_TIMEOUT_S, name="batch-job-end")
        if result.timed_out:
            raise UnknownEndError(f"{command.argv[0]} has not answered within {COMMAND_TIMEOUT_S:g} s")
        if result.status != 0:
            last = (result.output.strip().splitlines() or ["no output"])[-1][:200]
            raise UnknownEndError(f"{command.argv[0]} ended with {result.status}: {last}")
        return result.output

    def _read_htcondor_ads(self) -> OuterEnd:
        job_ad, machine_ad = (self._read_ad(name) for name in ("_CONDOR_JOB_AD", "_CONDOR_MACHINE_AD"))
        return find_htcondor_end(job_ad, machine_ad, self._started)

    def _read_ad(self, variable: str) -> Ad:
        """Return the ad whose file a variable names; {} when there is none to be read."""
        if not (path := self._env.get(variable)):
            return {}
        try:
            return parse_ad(read_file(path, MAX_AD_BYTES).decode(errors="replace").splitlines())
        except OSError:
            return {}

    # --- reports ---

    def _report_end(self, end: OuterEnd) -> None:
        seconds = None if end.epoch is None else max(0.0, end.epoch - time.time())
        self._reported_moment = _find_moment(end)
        self._report(OuterEndObserved(seconds, end.epoch, end.source))

    def _record_problem(self, problem: str | None) -> None:
        if problem is not None and problem != self._problem:
            self._report(ConditionDetected(CONDITION, problem))
        elif problem is None and self._problem is not None:
            self._report(ConditionResolved(CONDITION))
        self._problem = problem


def _find_moment(end: OuterEnd) -> float | None:
    return None if end.epoch is None else end.epoch - time.time() + time.monotonic()


def _has_moved(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > TOLERANCE_S
