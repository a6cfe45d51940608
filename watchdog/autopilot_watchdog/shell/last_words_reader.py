"""The last words of a slot's container: the one reader of the contract in docs/last-words.md.

The file belongs to the supervisor inside. Only when its writer is dead and could not say how it ended, the watchdog
completes it.
"""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopilot_watchdog.core.observation import Container, LastWords

FILE_NAMES = ("last-words.json", "previous-words.json")
FORMAT_VERSION = 1


def attach_last_words(container: Container, folder: Path) -> Container:
    """The container with its last words, if it left any."""
    document = _find_document(container, folder)
    return container if document is None else replace(container, last_words=_parse_last_words(document))


def complete_last_words(container: Container, folder: Path, code: str, sentence: str, ended: float) -> bool:
    """Say for the dead how they ended, where they could not themselves. True when that was needed. Raises OSError."""
    path = folder / FILE_NAMES[0]
    document = _read_document(path)
    if document is None or document.get("container_id") != container.id or document.get("state") != "running":
        return False
    when = datetime.datetime.fromtimestamp(ended, datetime.UTC).isoformat(timespec="milliseconds")
    document.update(
        state="ended",
        reason=code,
        detail=sentence,
        exit_code=container.exit_code,
        ended=when.replace("+00:00", "Z"),
        completed_by="watchdog",
    )
    temporary = path.with_suffix(".watchdog")
    temporary.unlink(missing_ok=True)
    with temporary.open("x") as file:  # "x" follows no link that the container may have put there
        file.write(json.dumps(document, indent=1) + "\n")
    os.replace(temporary, path)
    return True


def _find_document(container: Container, folder: Path) -> dict[str, Any] | None:
    for name in FILE_NAMES:
        document = _read_document(folder / name)
        if document and container.id and container.id == document.get("container_id"):
            return document
        if document and not document.get("container_id") and document.get("container_name") == container.name:
            return document
    return None


def _read_document(path: Path) -> dict[str, Any] | None:
    """None when there is no such file, or nothing of this format in it. The container writes it: trust nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor) as file:
            document = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and document.get("format") == FORMAT_VERSION else None


def _parse_last_words(document: dict[str, Any]) -> LastWords:
    code = document.get("exit_code")
    killed = document.get("payloads_killed")
    return LastWords(
        state=str(document.get("state") or "running"),
        reason=str(document.get("reason") or ""),
        detail=str(document.get("detail") or "")[:500],
        exit_code=code if isinstance(code, int) else None,
        good=document.get("good") is True,
        draining=bool(document.get("drain_started")) and document.get("state") == "running",
        payloads_killed=killed if isinstance(killed, int) else 0,
    )
