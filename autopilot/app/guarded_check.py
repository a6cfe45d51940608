"""Keep a defect of a check from ending the life: a check only observes."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable

from autopilot.adapters.logs.logger import Logger


async def guard_check(check: Awaitable[tuple[bool, str]], kind: str, log: Logger, **subject: str) -> tuple[bool, str]:
    """Return the answer of a check; its own failure is logged, and counts as a failed check.

    Args:
        check: The check.
        kind: Its kind, such as `exec`.
        log: The log.
        subject: The field of the log line that names the job or the gate.
    """
    try:
        return await check
    except Exception as error:
        text = "".join(traceback.format_exception(error)).strip()
        message = f"internal error in the {kind} check: {error!r}"
        log.log("error", "check_error", f"{message}; it counts as failed; please report it", **subject, traceback=text)
        return False, message
