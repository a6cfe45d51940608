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
from autopilot.app.surroundings import Surroundings
from autopilot.machines import facts
from autopilot.machines.actions import Evict, Outcome
from autopilot.machines.core import Effect

FORMAT = 1
HEARTBEAT = 30.0  # s


class LastWords:
    """Told every effect; keeps the record of this life on disk."""

    def __init__(self, state: Path, where: Surroundings) -> None:
        self.path = state / "last-words.json"
        self._running: set[str] = set()
        self._run: set[str] = set()
        self._killed: set[str] = set()
        self._killing = False
        self.record: dict[str, object] = {
            "format": FORMAT,
            "version": __version__,
            "life": uuid.uuid4().hex[:12],
            "state": "running",
            "reason": None,
            "detail": None,
            "exit_code": None,
            "image_digest": where.image_digest or None,
            "container_id": where.container_id or None,
            "container_name": where.container_name or None,
            "host": where.host or None,
            "slot": where.slot or None,
            "hostname": where.hostname,
            "started": _now(),
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
        self.beat()

    def hear(self, effect: Effect) -> None:
        match effect:
            case facts.Healthy() if self.record["healthy_at"] is None:
                self._note(healthy_at=_now())
            case facts.ProvedGood():
                self._note(good=True)
            case facts.DrainBegun():
                self._note(drain_started=_now())
            case facts.PayloadsChanged():
                self._count(effect)
            case facts.DrainSoftened() | Evict():
                self._killing = True
                self._killed |= self._running

    def finish(self, outcome: Outcome) -> None:
        """The life is over. Raises OSError."""
        self._note(
            state="ended", reason=outcome.reason, detail=outcome.detail, exit_code=outcome.code, ended=_now()
        )  # fmt: skip

    def beat(self) -> None:
        """Raises OSError."""
        self.record["heartbeat"] = _now()
        self._write()

    def _count(self, fact: facts.PayloadsChanged) -> None:
        self._running = set(fact.payloads)
        self._run |= self._running
        if self._killing:
            self._killed |= self._running
        self._note(payloads_run=len(self._run))

    def _note(self, **news: object) -> None:
        self.record.update(news, payloads_killed=len(self._killed))
        self.beat()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)  # somebody may have cleaned up too well
        temporary = self.path.with_suffix(".tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.record, file, indent=1)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, self.path)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
