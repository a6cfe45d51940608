"""The memory on disk: STATE/state.json, written whole, synced and renamed; one pass at a time under STATE/lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from autopilot_watchdog.core.memory import FORMAT_VERSION, Memory


class StateError(Exception):
    """One sentence: the state cannot be read or written, so nothing may be done."""


class AlreadyRunningError(Exception):
    """Another watchdog is at work."""


class StateStore:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "state.json"

    @contextlib.contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Alone at work. The kernel releases the lock whatever happens to us. Raises Busy, StateError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            file = (self.folder / "lock").open("a")
        except OSError as error:
            raise StateError(f"cannot open the state folder {self.folder}: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise AlreadyRunningError from None
            yield

    def load(self) -> Memory:
        """What is remembered; nothing, where nothing was yet. What cannot be read is kept aside. Raises StateError."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if document.get("format") != FORMAT_VERSION:
                raise ValueError(f"format {document.get('format')} is not {FORMAT_VERSION}")
            return typing.cast(Memory, decode(Memory, document))
        except FileNotFoundError:
            return Memory()
        except OSError as error:
            raise StateError(f"cannot read {self._path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            aside = self._path.with_suffix(".damaged")
            os.replace(self._path, aside)
            raise StateError(
                f"cannot understand {self._path} ({error}); it is kept as {aside}, the next pass begins anew"
            ) from None

    def peek(self) -> Memory:
        """As `load`, for those who only look: never moves the file."""
        try:
            return typing.cast(Memory, decode(Memory, json.loads(self._path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return Memory()

    def save(self, memory: Memory) -> None:
        """Raises StateError."""
        temporary = self._path.with_suffix(".tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(asdict(memory), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError as error:
            raise StateError(f"cannot write {self._path}: {error.strerror}") from None

    def ensure_slot_folder(self, slot: str) -> Path:
        """What the slot's containers see as their own state folder. Raises StateError."""
        folder = self.folder / "slots" / slot
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"cannot make {folder}: {error.strerror}") from None
        return folder


def decode(kind: Any, found: Any) -> Any:
    """A value of the type from JSON: dataclasses, mappings, tuples, plain values. Unknown keys are newer ones."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(
            **{
                field.name: decode(hints[field.name], found[field.name])
                for field in fields(kind)
                if field.name in found
            }
        )
    if origin is Mapping:
        return {key: decode(inner[1], value) for key, value in found.items()}
    if origin is tuple:
        return tuple(decode(inner[0], value) for value in found)
    if kind is float and isinstance(found, int):
        return float(found)
    if not isinstance(found, kind):
        raise TypeError(f"{found!r} is no {kind.__name__}")
    return found
