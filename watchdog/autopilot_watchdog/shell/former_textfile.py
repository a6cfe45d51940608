"""Remove the metrics' textfile that a former configuration named.

node-exporter reads every file of its folder. A former one would report old figures for ever, and the same metrics in
two files make it drop both.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autopilot_watchdog.core.memory import Memory

OUR_BEGIN = b"# HELP autopilot_watchdog_"  # of a file that we wrote


def leave_textfile(memory: Memory, textfile: str) -> tuple[Memory, str]:
    """Remove the former textfile if the configuration names another one, or none.

    Args:
        memory: The memory, with the path of the former one.
        textfile: The path in the configuration; "" for none.

    Returns:
        The memory with the present path, and a sentence about a file that could not be removed; "" for none.
    """
    former = memory.textfile
    if former == textfile:
        return memory, ""
    memory = replace(memory, textfile=textfile)
    if not former:
        return memory, ""
    try:
        with Path(former).open("rb") as file:
            is_ours = file.read(len(OUR_BEGIN)) == OUR_BEGIN
        if is_ours:
            Path(former).unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        return memory, f"cannot remove {former}, which has old metrics now: {error.strerror}; remove it by hand"
    return memory, ""
