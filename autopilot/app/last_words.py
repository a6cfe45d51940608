"""The last words: STATE/last-words.json, the contract with the watchdog (docs/last-words.md).

Written whole and renamed. While the life goes on the file says `running` with the last heartbeat, so a SIGKILL or a
host crash leaves the truth behind. Not synced to disk: a heartbeat must never wait for a slow disk, and the page
cache outlives the container; after a host crash an older heartbeat stands there, which is true as well.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path

from autopilot import __version__
from autopilot.app.container_info import ContainerInfo
from autopilot.machines import events
from autopilot.machines.actions import EvictPayloads, Outcome
from autopilot.machines.core import Effect
from autopilot.timestamps import format_timestamp

FORMAT_VERSION = 1
HEARTBEAT_INTERVAL_S = 30.0  # s


class LastWords:
    """Told every effect; keeps the record of this life on disk."""

    def __init__(self, state: Path, container_info: ContainerInfo) -> None:
        self.path = state / "last-words.json"
        self._payloads_running: set[str] = set()
        self._payloads_run: set[str] = set()
        self._payloads_killed: set[str] = set()
        self._killing_payloads = False
        self.record: dict[str, object] = {
            "format": FORMAT_VERSION,
            "version": __version__,
            "life": uuid.uuid4().hex[:12],
            "state": "running",
            "reason": None,
            "detail": None,
            "exit_code": None,
            "image_digest": container_info.image_digest or None,
            "container_id": container_info.container_id or None,
            "container_name": container_info.container_name or None,
            "host": container_info.host or None,
            "slot": container_info.slot or None,
            "hostname": container_info.hostname,
            "started": _format_now(),
            "healthy_at": None,
            "good": False,
            "drain_started": None,
            "ended": None,
            "heartbeat": None,
            "payloads_run": 0,
            "payloads_killed": 0,
        }

    @property
    def life(self) -> str:
        """The unique id of this life."""
        return str(self.record["life"])

    def begin(self) -> None:
        """Keep what the life before left behind, then say that this one runs. Raises OSError."""
        if self.path.exists():
            os.replace(self.path, self.path.with_name("previous-words.json"))
        self.write_heartbeat()

    def on_effect(self, effect: Effect) -> None:
        match effect:
            case events.Healthy() if self.record["healthy_at"] is None:
                self._update_record(healthy_at=_format_now())
            case events.BootSucceeded():
                self._update_record(good=True)
            case events.DrainBegun():
                self._update_record(drain_started=_format_now())
            case events.PayloadsChanged():
                self._count_payloads(effect)
            case events.DrainDeadlineReached() | EvictPayloads():
                self._killing_payloads = True
                self._payloads_killed |= self._payloads_running

    def finish(self, outcome: Outcome) -> None:
        """The life is over. Raises OSError."""
        self._update_record(
            state="ended", reason=outcome.reason, detail=outcome.detail, exit_code=outcome.code, ended=_format_now()
        )  # fmt: skip

    def write_heartbeat(self) -> None:
        """Raises OSError."""
        self.record["heartbeat"] = _format_now()
        self._write()

    def _count_payloads(self, event: events.PayloadsChanged) -> None:
        self._payloads_running = set(event.payloads)
        self._payloads_run |= self._payloads_running
        if self._killing_payloads:
            self._payloads_killed |= self._payloads_running
        self._update_record(payloads_run=len(self._payloads_run))

    def _update_record(self, **changes: object) -> None:
        self.record.update(changes, payloads_killed=len(self._payloads_killed))
        self.write_heartbeat()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)  # somebody may have cleaned up too well
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.record, file, indent=1)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, self.path)


def _format_now() -> str:
    return format_timestamp(time.time(), digits=3)
