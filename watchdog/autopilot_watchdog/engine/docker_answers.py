"""Parse single values of the Docker API's answers: containers, times, log streams."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from autopilot_watchdog.core.observation import Container
from autopilot_watchdog.engine import container_request
from autopilot_watchdog.timestamps import parse_timestamp

FRAME_HEADER_BYTES = 8  # stream number, three zeros, length as a big-endian 32-bit number


def parse_container(document: dict[str, Any], engine: str, states: Mapping[str, str]) -> Container:
    """Build a container from the answer of GET /containers/ID/json.

    Args:
        document: The answer.
        engine: The engine's name.
        states: Docker's word for each state that this engine calls otherwise.
    """
    state, labels = document["State"], document["Config"].get("Labels") or {}
    return Container(
        id=document["Id"],
        name=document["Name"].lstrip("/"),
        engine=engine,
        slot=labels.get(container_request.SLOT_LABEL, ""),
        digest=labels.get(container_request.DIGEST_LABEL, ""),
        image=labels.get(container_request.IMAGE_LABEL, ""),
        state=states.get(state["Status"], state["Status"]),
        started=parse_engine_time(state.get("StartedAt", "")),
        ended=parse_engine_time(state.get("FinishedAt", "")),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
    )


def parse_engine_time(text: str) -> float:
    """Return the epoch seconds of an engine's time; 0.0 for none, which engines write as the year 1."""
    try:
        return max(0.0, parse_timestamp(text or ""))
    except ValueError:
        return 0.0


def strip_frame_headers(raw: bytes) -> str:
    """Return the text of an engine's log stream without its frame headers; a stream without frames is kept."""
    if raw[:1] not in (b"\0", b"\1", b"\2") or raw[1:4] != b"\0\0\0":
        return raw.decode(errors="replace").strip()
    text, position = b"", 0
    while position + FRAME_HEADER_BYTES <= len(raw):
        begin = position + FRAME_HEADER_BYTES
        (length,) = struct.unpack(">I", raw[position + 4 : begin])
        text += raw[begin : begin + length]
        position = begin + length
    return text.decode(errors="replace").strip()
