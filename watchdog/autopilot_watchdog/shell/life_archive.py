"""Keep the last lives of each slot: a line about each, and the last output of the latest ones.

STATE/lives/SLOT/lives.json has the lives, newest last, and CONTAINER.log beside it the output. Everything is bounded:
lives by number, logs by number and size. A failure to write loses a line of history, never a pass.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from autopilot_watchdog.bounded_json import clip_text, get_list, parse_json
from autopilot_watchdog.core.lost_lives import LOST_CODE, UNKNOWN_VERDICT, LostLife
from autopilot_watchdog.core.observation import Container, LastWords
from autopilot_watchdog.core.slot_actions import RemoveContainer
from autopilot_watchdog.regular_files import read_regular_file, replace_own_file

MAX_LIVES, MAX_LOGS = 50, 5  # of one slot
MAX_LOG_LINES, MAX_LOG_BYTES = 1000, 128 << 10  # of one life
MAX_FILE_BYTES = 1 << 20
MAX_SENTENCE_CHARS = 500
LIVES_FILE = "lives.json"
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}")  # engines allow no others; a label may say anything


@dataclass(frozen=True, slots=True)
class Life:
    """Past life of a slot. Times are epoch seconds, 0 is never."""

    container: str
    id: str
    image: str
    digest: str
    started: float
    ended: float
    code: str  # stable code of the end
    verdict: str
    exit_code: int | None  # None: not known
    sentence: str
    payloads_run: int = 0
    payloads_killed: int = 0

    @property
    def length(self) -> float:
        """Seconds that the life lasted."""
        return max(0.0, self.ended - self.started) if self.started else 0.0


def build_life(container: Container, removal: RemoveContainer) -> Life:
    """Build the record of a life from its dead container and the verdict on it."""
    words = container.last_words
    return Life(
        container=container.name,
        id=container.id,
        image=container.image,
        digest=container.digest,
        started=container.started,
        ended=container.ended,
        code=removal.code,
        verdict=removal.verdict,
        exit_code=container.exit_code,
        sentence=clip_text(removal.sentence, MAX_SENTENCE_CHARS),
        payloads_run=words.payloads_run if words else 0,
        payloads_killed=words.payloads_killed if words else 0,
    )


def build_lost_life(lost: LostLife, words: LastWords | None) -> Life:
    """Build the record of a life from all that is known of it after somebody removed its container."""
    return Life(
        container=lost.name,
        id=lost.container,
        image=lost.image,
        digest=lost.digest,
        started=lost.started,
        ended=lost.ended,
        code=LOST_CODE,
        verdict=UNKNOWN_VERDICT,
        exit_code=None,
        sentence=clip_text(lost.sentence, MAX_SENTENCE_CHARS),
        payloads_run=words.payloads_run if words else 0,
        payloads_killed=words.payloads_killed if words else 0,
    )


class LifeArchive:
    """Archive of the past lives of this host's slots."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder / "lives"
        self._lock = threading.Lock()  # containers may be removed in several threads

    def add(self, slot: str, life: Life, output: str) -> None:
        """Add a life with its last output; a life that is there already is not added twice.

        Raises:
            OSError: The files cannot be written.
        """
        if not SAFE_NAME.fullmatch(slot) or not SAFE_NAME.fullmatch(life.container):
            return
        with self._lock:
            self._write(slot, life, output)

    def _write(self, slot: str, life: Life, output: str) -> None:
        folder = self._folder / slot
        lives = self.list_lives(slot)
        if any(known.id == life.id for known in lives):
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        if output:
            tail = output.encode(errors="replace")[-MAX_LOG_BYTES:]
            replace_own_file(folder / f"{life.container}.log", tail)
        lives = [*lives, life][-MAX_LIVES:]
        document = json.dumps({"lives": [asdict(known) for known in lives]}, indent=1)
        replace_own_file(folder / LIVES_FILE, document.encode())
        kept = {f"{known.container}.log" for known in lives[-MAX_LOGS:]}
        for path in folder.glob("*.log"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def list_lives(self, slot: str) -> list[Life]:
        """Return the past lives of a slot, oldest first; none if there is no usable file."""
        if not SAFE_NAME.fullmatch(slot):
            return []
        try:
            document = parse_json(read_regular_file(self._folder / slot / LIVES_FILE, MAX_FILE_BYTES))
        except (OSError, ValueError):
            return []
        return list(_parse_lives(get_list(document, "lives")))

    def find_life(self, container: str) -> tuple[str, int] | None:
        """Return the slot of a past life, and the life's number (1 is the newest), by its container's name."""
        for folder in sorted(self._folder.glob("*")):
            for number, life in enumerate(reversed(self.list_lives(folder.name)), 1):
                if life.container == container:
                    return folder.name, number
        return None

    def read_log(self, slot: str, life: Life) -> str | None:
        """Return the last output of a life; None if it is not kept any more."""
        if not SAFE_NAME.fullmatch(slot) or not SAFE_NAME.fullmatch(life.container):
            return None
        with contextlib.suppress(OSError):
            log = self._folder / slot / f"{life.container}.log"
            return read_regular_file(log, MAX_LOG_BYTES).decode(errors="replace")
        return None


def _parse_lives(items: list[Any]) -> Iterator[Life]:
    """Yield the lives of a file; entries of another shape are left out."""
    kinds: dict[str, tuple[type, ...]] = {"float": (float, int), "int": (int,), "str": (str,)}
    kinds["int | None"] = (int, type(None))
    for item in items[-MAX_LIVES:]:
        values = {
            field.name: item[field.name]
            for field in fields(Life)
            if isinstance(item, dict) and field.name in item and isinstance(item[field.name], kinds[str(field.type)])
        }
        with contextlib.suppress(TypeError):  # a key is missing
            yield Life(**values)
