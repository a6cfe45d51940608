"""Claim preparing steps for one process: STATE/work/NAME is locked while a pull, check or pre-flight is under way.

So two watchdogs on one host, such as the timer's and `watch`, never pull the same digest at once, and every verb can
tell since when a pull runs. The kernel releases the lock if the process dies. A file appears under its name only
after it was locked, so an unlocked file is always a leftover.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from autopilot_watchdog.bounded_json import get_text, parse_json
from autopilot_watchdog.core.slot_actions import Preflight, Preparation, Pull, Verify
from autopilot_watchdog.regular_files import create_new_file, open_regular_file
from autopilot_watchdog.shell.state_file import StateError

KINDS: dict[str, type[Preparation]] = {"pull": Pull, "verify": Verify, "preflight": Preflight}
KIND_NAMES = {kind: name for name, kind in KINDS.items()}
MAX_FILE_CHARS = 1 << 16


class WorkClaims:
    """Claims of all watchdogs with one state folder. Claims are made and ended under the lock of the state."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder / "work"
        self._files: dict[Preparation, TextIO] = {}

    def claim(self, step: Preparation, now: float) -> None:
        """Claim a step that nobody has claimed.

        Raises:
            StateError: The claim cannot be written.
        """
        path = self._get_path(step)
        temporary = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.fdopen(create_new_file(temporary), "w", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            json.dump({"kind": KIND_NAMES[type(step)], "since": now, **asdict(step)}, file)
            file.flush()
            os.replace(temporary, path)
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}") from None
        self._files[step] = file

    def release(self, step: Preparation) -> None:
        """End the claim of a step, after its outcome is in the memory."""
        if (file := self._files.pop(step, None)) is None:
            return
        with contextlib.suppress(OSError):
            self._get_path(step).unlink(missing_ok=True)
        file.close()

    def list_claimed(self) -> dict[Preparation, float]:
        """Return the steps that are under way in any process, each with its begin in epoch seconds."""
        claimed: dict[Preparation, float] = {}
        for path in sorted(self._folder.glob("*.json")):
            with _open_claim(path) as file:
                if file is None or _try_lock(file):
                    continue
                claim = _parse_claim(file.read(MAX_FILE_CHARS))
                if claim is not None:
                    claimed[claim[0]] = claim[1]
        return claimed

    def remove_leftovers(self) -> None:
        """Remove the files of killed watchdogs."""
        for path in self._folder.glob("*"):
            with _open_claim(path) as file, contextlib.suppress(OSError):
                if file is not None and _try_lock(file):
                    path.unlink(missing_ok=True)

    def _get_path(self, step: Preparation) -> Path:
        group = "" if isinstance(step, Pull) else step.group
        words = (KIND_NAMES[type(step)], step.image, step.digest, group)
        name = hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
        return self._folder / f"{name}.json"


@contextlib.contextmanager
def _open_claim(path: Path) -> Iterator[TextIO | None]:
    """Open a claim for reading; None if it is gone or cannot be read."""
    try:
        file = os.fdopen(open_regular_file(path), encoding="utf-8", errors="replace")
    except OSError:
        yield None
        return
    with file:
        yield file


def _try_lock(file: TextIO) -> bool:
    """Return True if nobody holds the file's lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parse_claim(text: str) -> tuple[Preparation, float] | None:
    """Return the step of a claim and its begin; None for a text that is no claim."""
    try:
        document = parse_json(text)
    except ValueError:
        return None
    kind = KINDS.get(get_text(document, "kind"))
    since = document.get("since") if isinstance(document, dict) else None
    if kind is None or isinstance(since, bool) or not isinstance(since, int | float):
        return None
    keys = ("image", "digest") if kind is Pull else ("image", "digest", "group")
    texts = (get_text(document, key, MAX_FILE_CHARS) for key in keys)
    return kind(*texts), float(since)
