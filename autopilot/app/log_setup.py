"""Open the log that the plan asks for."""

from __future__ import annotations

import asyncio
import os

from autopilot.adapters.logs.journal import Journal
from autopilot.adapters.logs.log_entry import LogFormat
from autopilot.adapters.logs.log_formats import choose_format
from autopilot.adapters.logs.log_writer import LogWriter
from autopilot.adapters.logs.logger import Logger
from autopilot.app.life_context import LifeContext
from autopilot.spec.plan import Plan

STANDARD_FDS = {"stdout": 1, "stderr": 2}


def open_log(plan: Plan, loop: asyncio.AbstractEventLoop, life: LifeContext, journal: Journal) -> Logger:
    """Return the log of a life; the journal keeps jobs' output lines.

    Raises:
        OSError: The log's file cannot be opened.
    """
    return Logger(
        LogWriter(loop, open_log_fd(plan.logging.output)),
        choose_log_format(plan, life),
        level=plan.logging.level,
        output=plan.logging.output,
        open_raw_writer=lambda stream: LogWriter(loop, STANDARD_FDS[stream]),
        on_job_lines=journal.add_lines,
    )


def open_log_fd(output: str) -> int:
    """Return the descriptor for `logging.output`.

    Raises:
        OSError: The file cannot be opened, or is a FIFO without a reader: waiting for one would be to hang.
    """
    if output in STANDARD_FDS:
        return STANDARD_FDS[output]
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return os.open(output, flags, 0o644)


def choose_log_format(plan: Plan, life: LifeContext) -> LogFormat:
    """Return the format for `logging.format`; some values depend on the output being a terminal."""
    return choose_format(
        plan.logging.format,
        terminal=plan.logging.output in STANDARD_FDS and os.isatty(STANDARD_FDS[plan.logging.output]),
        containerpilot=life.containerpilot,
        context=life.container_info.get_log_context(),
    )
