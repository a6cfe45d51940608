"""Follow the startd's history: one ad for each payload that ended here, with its exit code and its duration.

A payload that is evicted, removed or held tells nothing about the node, so only those count that ended by themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autopilot.adapters.batch.htcondor.classads import Ad, get_payload_id, parse_ad
from autopilot.safe_files import read_file

MAX_READ_BYTES = 1 << 20  # at a time; of more than that only the end is read
MAX_AD_BYTES = 1 << 18  # an unfinished ad that is longer is given up
FAST_FAILURE_S = 60.0  # a payload that ends with an error so soon may have failed because of the node
_END_OF_AD = re.compile(r"^\*\*\* .*\n", re.MULTILINE)
_BANNER = re.compile(rb"^\*\*\* .*\n", re.MULTILINE)  # the same, in bytes
_ENDED_BY_ITSELF = re.compile(r"^ToE = \[.*\bHowCode = 0;", re.MULTILINE)
_END_CAUSE = re.compile(r"^ToE = \[", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class FinishedPayload:
    """A payload that ended by itself."""

    name: str
    failed_fast: bool  # with an error, within FAST_FAILURE_S


def parse_history(text: str) -> Iterator[FinishedPayload]:
    """Yield the payloads that ended by themselves, from whole ads of the history, in their order."""
    for block in _END_OF_AD.split(text):
        if _END_CAUSE.search(block) and not _ENDED_BY_ITSELF.search(block):
            continue
        if (payload := _judge_ad(parse_ad(block.split("\n")))) is not None:
            yield payload


def _judge_ad(ad: Ad) -> FinishedPayload | None:
    status = ad.get("ExitSignal") if ad.get("ExitBySignal") is True else ad.get("ExitCode")
    duration, name = ad.get("JobDuration"), get_payload_id(ad)
    if name is None or isinstance(status, str | float | bool | None) or isinstance(duration, str | bool | None):
        return None
    return FinishedPayload(name, status != 0 and duration < FAST_FAILURE_S)


class PayloadHistory:
    """The history's file, read from the place where the last look ended."""

    def __init__(self) -> None:
        self._file_id: tuple[int, int] | None = None  # device and inode; None before the first look
        self._offset = 0
        self._rest = b""  # the begin of an ad that is not whole yet
        self._has_looked = False

    def read_new(self, path: Path) -> tuple[FinishedPayload, ...]:
        """Return the payloads that have ended since the last look; none at the first look, or without a file."""
        is_first, self._has_looked = not self._has_looked, True
        try:
            data = self._read(path, is_first)
        except OSError:
            return ()
        pending = self._rest + data
        end = max((banner.end() for banner in _BANNER.finditer(pending)), default=0)
        self._rest = pending[end:][-MAX_AD_BYTES:]
        return tuple(parse_history(pending[:end].decode(errors="replace")))

    def _read(self, path: Path, is_first: bool) -> bytes:
        """Return the new bytes of the file, at most MAX_READ_BYTES; a file that is new or was cut is read anew."""
        status = os.lstat(path)
        file_id = (status.st_dev, status.st_ino)
        if is_first:
            self._offset = status.st_size
        elif file_id != self._file_id or status.st_size < self._offset:
            self._offset, self._rest = 0, b""
        self._file_id = file_id
        if status.st_size - self._offset > MAX_READ_BYTES:
            self._offset, self._rest = status.st_size - MAX_READ_BYTES, b""
        data = read_file(path, MAX_READ_BYTES, offset=self._offset) if status.st_size > self._offset else b""
        self._offset += len(data)
        return data
