"""Implement the port of batch systems for a spool: files move between `running`, `queue` and `killed`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from autopilot.adapters.batch.batch_system import SupervisorServices
from autopilot.machines.cues import Drained, Evicted, PayloadsObserved
from spool.spool_extension import SpoolSettings


class SpoolSystem:
    """The spool of this container."""

    own_pid_variables: tuple[str, ...] = ("SPOOL_PID",)

    def __init__(self, settings: SpoolSettings, services: SupervisorServices) -> None:
        self._settings, self._services = settings, services
        self._directory = Path(settings.directory)
        self._draining = self._drained = False
        self._main_pid: int | None = None

    async def prepare(self) -> list[str]:
        """Refuse without a directory."""
        return [] if self._directory.is_dir() else [f"cannot find the spool {self._directory}: make it"]

    async def monitor(self) -> None:
        """Watch the running files."""
        seen: tuple[str, ...] | None = None
        while True:
            now = self._list_running()
            if now != seen:
                seen = now
                self._services.report(PayloadsObserved(now))
            if self._draining and not now and not self._drained:
                self._drained = True
                self._services.report(Drained())
            await asyncio.sleep(self._settings.limits.poll)

    def build_environment(self) -> Mapping[str, str]:
        """Return the directory."""
        return {"SPOOL": str(self._directory)}

    def build_arguments(self) -> tuple[str, ...]:
        """Return none."""
        return ()

    def on_starting(self) -> None:
        """Do nothing: nothing is in the way."""

    def on_started(self, pid: int) -> None:
        """Keep the pid for the status."""
        self._main_pid = pid

    def on_exited(self) -> None:
        """Forget it."""
        self._main_pid = None

    async def check(self, aspect: str, timeout_s: float) -> tuple[bool, str]:
        """Know no aspect."""
        return False, aspect

    def get_payload_pids(self) -> Mapping[str, int]:
        """Return no process: this batch system starts none."""
        return {}

    def read_payload_id(self, pid: int) -> str | None:
        """Return None: this batch system starts no process."""
        return None

    def get_status(self) -> Mapping[str, object]:
        """Return the payloads and the main process."""
        return {"payloads": list(self._list_running()), "pid": self._main_pid}

    def begin_drain(self, reason: str) -> None:
        """Close the spool."""
        (self._directory / "closed").write_text(reason)
        self._draining = True

    def soft_stop(self) -> None:
        """Do nothing."""

    def hard_stop(self) -> None:
        """Kill what runs."""
        self._move("killed")

    def evict(self) -> None:
        """Give the files back."""
        self._services.start_task(self._run_eviction())

    async def _run_eviction(self) -> None:
        try:
            if self._settings.broken:
                raise OSError("a defect of the eviction")
            self._move("queue")
        finally:
            self._services.report(Evicted())

    def last_resort(self) -> None:
        """Give the files back at once."""
        self._move("queue")

    def _list_running(self) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in (self._directory / "running").iterdir()))

    def _move(self, target: str) -> None:
        (self._directory / target).mkdir(exist_ok=True)
        for name in self._list_running():
            (self._directory / "running" / name).rename(self._directory / target / name)
