"""Judge the starts and the wake-ups of the startd: one that crashes again and again, and one that hangs.

Pure; times are the event loop's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

CRASH_LOOP_STARTS, CRASH_LOOP_WINDOW_S, CRASH_LOOP_CALM_S = 4, 600.0, 120.0


@dataclass(frozen=True, slots=True)
class StartdStarts:
    """The recent starts of the startd. Four in ten minutes are a crash loop, two calm minutes are its end."""

    pid: int | None = None
    start_times: tuple[float, ...] = ()

    def record(self, pid: int | None, now: float) -> StartdStarts:
        """Return the starts after one observation; a new pid is a new start, None means that no startd runs."""
        recent = tuple(start for start in self.start_times if now - start < CRASH_LOOP_WINDOW_S)
        if pid is None or pid == self.pid:
            return replace(self, start_times=recent)
        return StartdStarts(pid, (*recent, now))

    def is_crash_looping(self, now: float) -> bool:
        """Return True from the fourth start in ten minutes until two minutes without a start."""
        return len(self.start_times) >= CRASH_LOOP_STARTS and now - self.start_times[-1] < CRASH_LOOP_CALM_S


@dataclass(frozen=True, slots=True)
class StartdWakeups:
    """The startd's wake-ups while it answers no query: one that never wakes hangs.

    A query that fails for another reason, such as a denied access, wakes the startd: it is never taken for a hang.
    """

    pid: int | None = None
    count: int = 0
    since: float = 0.0  # the loop's time of the first observation with this count

    def record(self, pid: int, count: int | None, now: float) -> StartdWakeups:
        """Return the record after a query without an answer.

        Args:
            pid: The startd.
            count: How often it has woken up (`process_stat.count_wakeups`); None: not known, or it is stopped.
            now: The loop's time.
        """
        if count is None:
            return StartdWakeups()
        return self if (pid, count) == (self.pid, self.count) else StartdWakeups(pid, count, now)

    def is_hung(self, now: float, timeout_s: float) -> bool:
        """Return True when it has not woken up for `timeout_s` seconds."""
        return self.pid is not None and now - self.since >= timeout_s
