"""Keep the memory on disk: STATE/state.json, written whole, synced and renamed, under the lock STATE/lock.

STATE/state.copy has the same content. It is used if state.json is damaged, so that pause, pins and roll-backs are not
forgotten.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import typing
from collections.abc import Iterator
from pathlib import Path

from autopilot_watchdog.bounded_json import MAX_DOCUMENT_BYTES, get_integer, parse_json
from autopilot_watchdog.core.memory import FORMAT_VERSION, Memory
from autopilot_watchdog.errors import WatchdogError
from autopilot_watchdog.regular_files import (
    NotRegularError,
    move_aside,
    open_own_file,
    read_regular_file,
    replace_own_file,
)
from autopilot_watchdog.shell import state_codec

MAX_DAMAGED_COPIES = 10  # the latest ones are kept
MAX_NUMBER_DIGITS = 10


class StateError(WatchdogError):
    """The state cannot be read or written, so no action is allowed."""


class AlreadyRunningError(WatchdogError):
    """Another watchdog holds the lock."""


def explain_os_error(error: OSError, folder: Path) -> str:
    """Return the reason of a failure, with the remedy if the state folder belongs to another user than ours."""
    reason = error.strerror or str(error)
    try:
        owner = folder.stat().st_uid
    except OSError:
        return reason
    if not isinstance(error, PermissionError) or owner == os.geteuid():
        return reason
    remedy = f"run the watchdog as that user, or give the folder to the new one (chown -R USER {folder})"
    return f"{reason}: it belongs to the user with the id {owner}; {remedy}"


class StateStore:
    """Store of the watchdog's memory and the slots' folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "state.json"
        self._copy = folder / "state.copy"

    @contextlib.contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Hold the lock; the kernel releases it if the process dies.

        Args:
            wait: True to wait while another watchdog holds the lock.

        Raises:
            AlreadyRunningError: Another watchdog holds the lock.
            StateError: The state folder cannot be opened.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            file = os.fdopen(open_own_file(self.folder / "lock"), "r+")
        except OSError as error:
            raise StateError(
                f"cannot open the state folder {self.folder}: {explain_os_error(error, self.folder)}"
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise AlreadyRunningError from None
            yield

    def load(self) -> Memory:
        """Read the memory; an empty one if there is no file yet.

        Raises:
            StateError: The file is of a newer watchdog and stays as it is, or cannot be read or understood. A damaged
                one was renamed: the next pass goes on with the copy of the state, or begins anew without one.
        """
        try:
            return self._read(self._path)
        except FileNotFoundError:
            return Memory()
        except NotRegularError as error:
            aside = self._move_foreign_aside()
            raise StateError(
                f"cannot read {self._path}: {error.strerror}; "
                f"it is kept as {aside}, the next pass {self._restore_copy()}"
            ) from None
        except OSError as error:
            raise StateError(f"cannot read {self._path}: {explain_os_error(error, self.folder)}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            aside = self._move_aside()
            raise StateError(
                f"cannot parse {self._path} ({error}); it is kept as {aside}, the next pass {self._restore_copy()}"
            ) from None

    def peek(self) -> Memory:
        """Read the memory for a verb that changes nothing; the copy, or an empty one, if it cannot be used.

        Raises:
            StateError: The file is of a newer watchdog.
        """
        for path in (self._path, self._copy):
            try:
                return self._read(path)
            except FileNotFoundError:
                break
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                continue
        return Memory()

    def _restore_copy(self) -> str:
        """Put the copy of the state in the place of the one that cannot be used; return the next pass's way on."""
        try:
            self.save(self._read(self._copy))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, StateError):
            return "begins anew"
        return "goes on with the copy of the state"

    def _read(self, path: Path) -> Memory:
        document = parse_json(read_regular_file(path, MAX_DOCUMENT_BYTES + 1))
        found = get_integer(document, "format")
        if found is not None and found > FORMAT_VERSION:
            raise StateError(
                f"cannot use {path}: a newer watchdog wrote it "
                f"(format {found}, this one knows {FORMAT_VERSION}); "
                "install that version again, or move the file away to begin anew"
            )
        if found != FORMAT_VERSION:
            raise ValueError(f"its format is not {FORMAT_VERSION}")
        return typing.cast(Memory, state_codec.decode(Memory, document))

    def _move_foreign_aside(self) -> Path:
        try:
            return move_aside(self._path)
        except OSError as error:
            raise StateError(f"cannot read {self._path}, nor move it aside: {error.strerror}") from None

    def _move_aside(self) -> Path:
        """Rename a damaged file to a name that no earlier one has, and return the name."""
        copies = self._list_damaged_copies()
        for number in itertools.count(max(copies, default=0) + 1):
            aside = self._path.with_suffix(f".damaged-{number}")
            try:
                os.link(self._path, aside)  # unlike a rename, it replaces nothing
            except FileExistsError:
                continue
            except OSError as error:
                raise StateError(f"cannot parse {self._path}, nor move it aside: {error.strerror}") from None
            self._path.unlink(missing_ok=True)
            for _, oldest in sorted(copies.items())[: max(0, len(copies) + 1 - MAX_DAMAGED_COPIES)]:
                oldest.unlink(missing_ok=True)
            return aside
        raise AssertionError("unreachable")

    def _list_damaged_copies(self) -> dict[int, Path]:
        """Return the damaged files that were kept, by number."""
        prefix = f"{self._path.stem}.damaged-"
        found = ((path.name.removeprefix(prefix), path) for path in self.folder.glob(f"{prefix}*"))
        return {int(number): path for number, path in found if number.isdecimal() and len(number) < MAX_NUMBER_DIGITS}

    def save(self, memory: Memory) -> None:
        """Write the memory.

        Raises:
            StateError: The file cannot be written.
        """
        content = state_codec.encode(memory).encode()
        try:
            replace_own_file(self._path, content, sync=True)
        except OSError as error:
            raise StateError(f"cannot write {self._path}: {explain_os_error(error, self.folder)}") from None
        try:
            replace_own_file(self._copy, content)
        except OSError:  # an old copy would be worse than none
            with contextlib.suppress(OSError):
                self._copy.unlink(missing_ok=True)

    def ensure_slot_folder(self, slot: str) -> Path:
        """Create the folder that the slot's containers see as their state folder.

        Raises:
            StateError: The folder cannot be created.
        """
        folder = self.folder / "slots" / slot
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"cannot create {folder}: {error.strerror}") from None
        return folder
