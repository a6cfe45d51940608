"""Define the arguments of a health check besides its own settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopilot.adapters.batch.batch_system import BatchSystem
    from autopilot.runtime.command_runner import ProcessCommandRunner

CheckResult = tuple[bool, str]  # passed, and the output or a sentence about it
LogLines = Callable[[str, list[bytes], bool, int], None]  # stream, lines without line ends, raw, pid


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckContext:
    """Context of one run of a check.

    Attributes:
        job: The name of the job that is checked.
        timeout_s: Seconds after which the caller cancels the check.
        commands: Runs a command among the supervisor's processes.
        log_lines: Writes a check's output to the log.
        batch_system: The batch system of this container, if any.
    """

    job: str
    timeout_s: float
    commands: ProcessCommandRunner
    log_lines: LogLines
    batch_system: BatchSystem | None
