"""Read the last words of a slot's container (docs/last-words.md); this is the contract's only reader.

The file belongs to the supervisor inside the container (Kubernetes has a similar file: the termination message). The
watchdog completes it only if the supervisor died before it could write its end.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopilot_watchdog.bounded_json import get_integer, get_text, parse_json
from autopilot_watchdog.core.observation import Container, LastWords
from autopilot_watchdog.regular_files import read_regular_file
from autopilot_watchdog.timestamps import format_timestamp

FILE_NAMES = ("last-words.json", "previous-words.json")
FORMAT_VERSION = 1
MAX_FILE_BYTES = 1 << 18  # the supervisor writes some 2 kB
MAX_CODE_CHARS = 40


def attach_last_words(container: Container, folder: Path) -> Container:
    """Return the container with its last words, if there are any in the slot's folder."""
    if container.slot in ("", ".", "..") or "/" in container.slot:  # an image's label may say anything
        return container
    document = _find_document(container, folder)
    return container if document is None else replace(container, last_words=_parse_last_words(document))


def complete_last_words(container: Container, folder: Path, code: str, sentence: str, ended: float) -> bool:
    """Complete the last words of a container with a supervisor that died without writing its end.

    Args:
        container: The dead container.
        folder: The slot's folder on the host.
        code: The reason code of the end.
        sentence: The sentence about the end.
        ended: Epoch seconds of the end.

    Returns:
        True if the file was completed; False if that was not needed.

    Raises:
        OSError: The file cannot be written.
    """
    path = folder / FILE_NAMES[0]
    document = _read_document(path)
    if document is None or document.get("container_id") != container.id or document.get("state") != "running":
        return False

    document.update(
        state="ended",
        reason=code,
        detail=sentence,
        exit_code=container.exit_code,
        ended=format_timestamp(ended),
        completed_by="watchdog",
    )
    temporary = folder / f"{FILE_NAMES[0]}.{secrets.token_hex(8)}"  # a name that the container cannot have taken
    try:
        with temporary.open("x") as file:  # "x" follows no link that the container may have put there
            file.write(json.dumps(document, indent=1) + "\n")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
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
    """Return the file's document; None if there is none of this format. The container writes it, so trust nothing."""
    try:
        document = parse_json(read_regular_file(path, MAX_FILE_BYTES))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and document.get("format") == FORMAT_VERSION else None


def _parse_last_words(document: dict[str, Any]) -> LastWords:
    return LastWords(
        state=get_text(document, "state", MAX_CODE_CHARS) or "running",
        reason=get_text(document, "reason", MAX_CODE_CHARS),
        detail=get_text(document, "detail"),
        exit_code=get_integer(document, "exit_code"),
        good=document.get("good") is True,
        draining=bool(document.get("drain_started")) and document.get("state") == "running",
        payloads_run=get_integer(document, "payloads_run") or 0,
        payloads_killed=get_integer(document, "payloads_killed") or 0,
        payloads_finished=get_integer(document, "payloads_finished") or 0,
        payloads_failed_fast=get_integer(document, "payloads_failed_fast") or 0,
    )
