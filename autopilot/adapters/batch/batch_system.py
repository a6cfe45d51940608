"""Define the port between the supervisor and a batch system.

The supervisor calls, in this order:

    prepare() -> monitor() in the background
    on_starting(), build_environment(), build_arguments(), on_started(), on_exited()     around each main process
    begin_drain() ... Drained            payloads finish
    soft_stop(), hard_stop()             the two steps at the drain's deadline
    evict() ... Evicted                  an ordered stop that does not wait for payloads
    last_resort()                        the supervisor ends by an internal error: no payload may stay in limbo

A batch system answers with cues: PayloadsObserved, PayloadsCounted, ConditionDetected, ConditionResolved, Drained,
Evicted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from autopilot.machines.cues import Cue
from autopilot.runtime.command_runner import CommandRunner


class OutsideProblem(str):
    """Problem of `prepare` that lies outside of this container: its image is not to blame."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorServices:
    """Parts of the supervisor that a batch system uses.

    Attributes:
        command_runner: Runs a command with a time limit.
        report: Takes a cue for the core.
        start_task: Starts a background task of this life; its failure is an internal error, and the life ends by
            the emergency path (`last_resort`).
        get_longest_rest: Returns the seconds until this life must be over, as the plan in effect has it; None without a
            limit.
        get_payload_limit: Returns the payloads that this life may take, as the plan in effect has it; None without a
            limit. A system whose section has no `find_limit_problem` lets the node itself refuse any further payload.
        run_observer: Awaits the runs of an observer, by its name: its failure is a condition, and it starts again.
        life_id: Unique for each life.
        state_directory: Holds files of this container.
        keep_file: Takes a file that this life needs, and the function that makes it again when somebody removes it.
        main_user: The user of the main process, as the job spec names it; None: the supervisor's own.
        env: The environment of the main process: the supervisor's own, and over it the variables of its job.
        job_env: The variables of its job alone, for the batch system's tools.
    """

    command_runner: CommandRunner
    report: Callable[[Cue], None]
    start_task: Callable[[Coroutine[Any, Any, None]], object]
    run_observer: Callable[[str, Callable[[], Awaitable[None]]], Coroutine[Any, Any, None]]
    life_id: str
    state_directory: Path
    keep_file: Callable[[Path, Callable[[], None]], None] = lambda _path, _restore: None
    main_user: str | None = None
    env: Mapping[str, str]
    job_env: Mapping[str, str] = field(default_factory=dict)
    get_longest_rest: Callable[[], float | None] = lambda: None
    get_payload_limit: Callable[[], int | None] = lambda: None


class BatchSystem(Protocol):
    """A batch system on this node."""

    @property
    def own_pid_variables(self) -> tuple[str, ...]:
        """Environment variables of the main process that are to hold its own pid."""
        ...

    async def prepare(self) -> list[str]:
        """Make the node ready for the main process.

        Returns:
            One line for each problem, with its remedy; empty when the main process can be started. The life ends with
            75 when all are an OutsideProblem, else with 78.
        """
        ...

    async def monitor(self) -> None:
        """Watch the node and report changes. Ends only by being cancelled."""
        ...

    def build_environment(self) -> Mapping[str, str]:
        """Return variables for the main process, over all others."""
        ...

    def build_arguments(self) -> tuple[str, ...]:
        """Return arguments for the main process, after those of its command."""
        ...

    def on_starting(self) -> None:
        """Clear the way for the main process, which starts next; it may block for three seconds."""
        ...

    def on_started(self, pid: int) -> None:
        """Take note of the main process."""
        ...

    def on_exited(self) -> None:
        """Take note that the main process has ended."""
        ...

    async def check(self, aspect: str, timeout_s: float) -> tuple[bool, str]:
        """Check one aspect of the node, for a health check.

        Args:
            aspect: The value of the check's key in the job spec.
            timeout_s: Seconds until an answer must be there.

        Returns:
            Whether the check passed, and one sentence about it.
        """
        ...

    def get_status(self) -> Mapping[str, object]:
        """Return the section of `autopilot status`: plain data, times in seconds."""
        ...

    def get_payload_pids(self) -> Mapping[str, int]:
        """Return the first process of each payload, by the payload's id."""
        ...

    def read_payload_id(self, pid: int) -> str | None:
        """Return the id of the payload with this first process, also of one that has only just begun; None without."""
        ...

    def begin_drain(self, reason: str) -> None:
        """Let running payloads finish and take no new ones; answered by Drained, whenever that is."""
        ...

    def soft_stop(self) -> None:
        """Ask payloads to end: the drain has reached its deadline."""
        ...

    def hard_stop(self) -> None:
        """End payloads, in a way the batch system notices: the grace after the soft stop is over."""
        ...

    def evict(self) -> None:
        """Give payloads back to their queue within five seconds; answered by Evicted, also when it fails."""
        ...

    def last_resort(self) -> None:
        """Do as `evict`, without an event loop: it may block for five seconds."""
        ...
