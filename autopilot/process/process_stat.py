"""Read a process's name and state from /proc/PID/stat (proc(5)). Light: wanted before the first job starts."""

from __future__ import annotations

DEAD_STATES = "ZX"  # a zombie, or one that is being removed
STOPPED_STATE = "T"
MAX_STAT_BYTES = 4096


def parse_stat(text: str) -> tuple[str, str] | None:
    """Return (name, state) from one `stat` file; None for text that is none.

    The name is the kernel's `comm`, at most 15 characters. It stands in parentheses and may hold any byte, `)` too. The
    state is R, S, D, T (stopped), Z (zombie), ...
    """
    head, _, rest = text.rpartition(")")
    _, found, name = head.partition(" (")
    words = rest.split()
    return (name, words[0]) if found and words else None


def read_stat(directory: str) -> tuple[str, str] | None:
    """Return (name, state) of the process or thread with this directory below /proc; None when it is gone or dead."""
    try:
        with open(f"{directory}/stat", "rb") as file:
            stat = parse_stat(file.read(MAX_STAT_BYTES).decode(errors="replace"))
    except OSError:
        return None
    return None if stat is None or stat[1] in DEAD_STATES else stat


def read_uids(pid: int) -> tuple[int, int] | None:
    """Return the real and the effective uid of a process; None when it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            words = next((line.split() for line in file if line.startswith(b"Uid:")), [])
    except OSError:
        return None
    return (int(words[1]), int(words[2])) if len(words) > 2 else None


def read_process_stat(pid: int) -> tuple[str, str] | None:
    """Return (name, state) of a process; None when it is gone, or only its zombie is there."""
    return read_stat(f"/proc/{pid}")


def count_wakeups(pid: int) -> int | None:
    """Return how often the main thread has slept and woken up (`voluntary_ctxt_switches`); None when it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            words = next((line.split() for line in file if line.startswith(b"voluntary_ctxt_switches:")), [])
    except OSError:
        return None
    return int(words[1]) if len(words) > 1 else None
