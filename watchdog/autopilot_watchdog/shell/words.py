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

from autopilot_watchdog.core.observation import Container, Words

NAMES = ("last-words.json", "previous-words.json")
FORMAT = 1


def heard(container: Container, folder: Path) -> Container:
    """The container with its last words, if it left any."""
    document = _find(container, folder)
    return container if document is None else replace(container, words=_words(document))


def complete(container: Container, folder: Path, code: str, sentence: str, ended: float) -> bool:
    """Say for the dead how they ended, where they could not themselves. True when that was needed. Raises OSError."""
    path = folder / NAMES[0]
    document = _read(path)
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


def _find(container: Container, folder: Path) -> dict[str, Any] | None:
    for name in NAMES:
        document = _read(folder / name)
        if document and container.id and container.id == document.get("container_id"):
            return document
        if document and not document.get("container_id") and document.get("container_name") == container.name:
            return document
    return None


def _read(path: Path) -> dict[str, Any] | None:
    """None when there is no such file, or nothing of this format in it. The container writes it: trust nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor) as file:
            document = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and document.get("format") == FORMAT else None


def _words(document: dict[str, Any]) -> Words:
    code = document.get("exit_code")
    killed = document.get("payloads_killed")
    return Words(
        state=str(document.get("state") or "running"),
        reason=str(document.get("reason") or ""),
        detail=str(document.get("detail") or "")[:500],
        exit_code=code if isinstance(code, int) else None,
        good=document.get("good") is True,
        draining=bool(document.get("drain_started")) and document.get("state") == "running",
        killed=killed if isinstance(killed, int) else 0,
    )
