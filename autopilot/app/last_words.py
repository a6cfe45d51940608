"""Keep the last words: STATE/last-words.json, the contract with the watchdog (docs/last-words.md).

Kubernetes calls such a file a termination message. It is written whole and renamed. While the life lasts it says
`running` with the last heartbeat, so that it is true after a SIGKILL or a crash of the host as well. It is not synced
to disk: a heartbeat must never wait for a slow disk, and the page cache outlives the container; after a crash of the
host it has an older heartbeat, which is true too.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from autopilot import __version__, safe_files
from autopilot.app.container_info import ContainerInfo
from autopilot.app.kept_files import KeptFiles
from autopilot.bounded_text import MAX_SENTENCE_CHARS, clip_text
from autopilot.machines import events
from autopilot.machines.actions import EvictPayloads, Outcome
from autopilot.machines.core import Effect
from autopilot.timestamps import format_timestamp

FORMAT_VERSION = 1
HEARTBEAT_INTERVAL_S = 30.0
PREVIOUS_NAME = "previous-words.json"
MAX_PREVIOUS_BYTES = 1 << 16


class LastWords:
    """The record of one life, kept on disk while the life lasts."""

    def __init__(
        self, state: Path, container_info: ContainerInfo, life_id: str, on_moved: Callable[[str], None]
    ) -> None:
        """Create the record; nothing is written yet.

        Args:
            state: The state directory.
            container_info: Identity of the container.
            life_id: Unique id of the life.
            on_moved: Gets a sentence when something else was in the place of a file and was moved aside.
        """
        self.path, self._on_moved = state / "last-words.json", on_moved
        self._kept_files: KeptFiles | None = None
        self._payloads_running: set[str] = set()
        self._payloads_run: set[str] = set()
        self._payloads_killed: set[str] = set()
        self._killing_payloads = False
        self._payloads_taken = self._payloads_finished = self._payloads_failed_fast = 0
        self.record: dict[str, object] = {
            "format": FORMAT_VERSION,
            "version": __version__,
            "life": life_id,
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
            "batch_job_ends": None,
            "drain_started": None,
            "ended": None,
            "heartbeat": None,
            "payloads_run": 0,
            "payloads_killed": 0,
            "payloads_finished": 0,
            "payloads_failed_fast": 0,
        }

    @property
    def life(self) -> str:
        """The unique id of this life."""
        return str(self.record["life"])

    def begin(self) -> None:
        """Keep the last words of the previous life as previous-words.json, then write those of this one.

        Raises:
            OSError: The state directory cannot be written.
        """
        safe_files.rename_own_file(self.path, PREVIOUS_NAME, self._on_moved)
        self.write_heartbeat()

    def keep_files(self, kept_files: KeptFiles) -> None:
        """Let these last words and the previous ones be made again when somebody removes them."""

        def restore() -> bool:
            self.write_heartbeat()  # tells of it, as any other write does
            return False

        self._kept_files = kept_files
        kept_files.keep(self.path, restore)
        previous = self.path.with_name(PREVIOUS_NAME)
        with suppress(OSError):  # there may be none
            data = safe_files.read_file(previous, MAX_PREVIOUS_BYTES)
            kept_files.keep(previous, lambda: safe_files.replace_file(previous, data, 0o644, on_moved=self._on_moved))

    def on_effect(self, effect: Effect) -> None:
        """Record `effect` and write the file, if it changes the record.

        Raises:
            OSError: The file cannot be written.
        """
        match effect:
            case events.Healthy() if self.record["healthy_at"] is None:
                self._update_record(healthy_at=_format_now())
            case events.BootSucceeded():
                self._update_record(good=True)
            case events.OuterEndChanged(_, epoch):
                self._update_record(batch_job_ends=None if epoch is None else format_timestamp(epoch))
            case events.DrainBegun():
                self._update_record(drain_started=_format_now())
            case events.PayloadsChanged():
                self._count_payloads(effect)
            case events.PayloadsTaken():
                self._payloads_taken = effect.taken
                self._update_record(payloads_run=max(len(self._payloads_run), self._payloads_taken))
            case events.PayloadsLost():
                self._payloads_killed |= set(effect.payloads)
                self._update_record()
            case events.PayloadsFinished():
                self._payloads_finished += len(effect.payloads)
                self._payloads_failed_fast += len(effect.failed_fast)
                self._update_record(
                    payloads_finished=self._payloads_finished, payloads_failed_fast=self._payloads_failed_fast
                )
            case events.DrainDeadlineReached() | EvictPayloads():
                self._killing_payloads = True
                self._payloads_killed |= self._payloads_running

    def finish(self, outcome: Outcome) -> None:
        """Write the end of the life.

        Raises:
            OSError: The file cannot be written.
        """
        detail = clip_text(outcome.detail, MAX_SENTENCE_CHARS)  # the problems of a job spec may be many
        self._update_record(
            state="ended", reason=outcome.reason, detail=detail, exit_code=outcome.code, ended=_format_now()
        )

    def write_heartbeat(self) -> None:
        """Write the record with the present time.

        Raises:
            OSError: The file cannot be written.
        """
        self.record["heartbeat"] = _format_now()
        self._write()

    def _count_payloads(self, event: events.PayloadsChanged) -> None:
        self._payloads_running = set(event.payloads)
        self._payloads_run |= self._payloads_running
        if self._killing_payloads:
            self._payloads_killed |= self._payloads_running
        self._update_record(payloads_run=max(len(self._payloads_run), self._payloads_taken))

    def _update_record(self, **changes: object) -> None:
        self.record.update(changes, payloads_killed=len(self._payloads_killed))
        self.write_heartbeat()

    def _write(self) -> None:
        data = json.dumps(self.record, indent=1).encode() + b"\n"
        was_removed = self._kept_files is not None and not os.path.lexists(self.path)
        safe_files.replace_file(self.path, data, 0o644, on_moved=self._on_moved)
        if self._kept_files is not None and was_removed:
            self._kept_files.report_restored(self.path)


class LastWordsListener:
    """Listener that keeps last words up to date: a disk that cannot be written ends no life."""

    def __init__(self, last_words: LastWords, loop: asyncio.AbstractEventLoop, on_error: Callable[[OSError], None]):
        """Create the listener; `on_error` is called each time that the file cannot be written."""
        self._last_words, self._loop, self._on_error = last_words, loop, on_error

    def begin_heartbeat(self) -> None:
        """Write a heartbeat now and every HEARTBEAT_INTERVAL_S."""
        self._write(self._last_words.write_heartbeat)
        self._loop.call_later(HEARTBEAT_INTERVAL_S, self.begin_heartbeat)

    def on_effect(self, effect: Effect) -> None:
        """Record `effect`."""
        self._write(lambda: self._last_words.on_effect(effect))

    def finish(self, outcome: Outcome) -> None:
        """Record the end of the life."""
        self._write(lambda: self._last_words.finish(outcome))

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._on_error(error)


def _format_now() -> str:
    return format_timestamp(time.time(), digits=3)
