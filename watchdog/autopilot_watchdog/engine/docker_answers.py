"""Parse single values of the Docker API's answers: containers, times, log streams."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from autopilot_watchdog.bounded_json import clip_text, get_integer, get_list, get_object, get_text
from autopilot_watchdog.config.slot_claims import MAX_LABEL_CHARS, parse_claims, read_host_config
from autopilot_watchdog.core.observation import UNKNOWN_STATE, Container
from autopilot_watchdog.engine import container_request
from autopilot_watchdog.timestamps import parse_timestamp

MAX_CODE_CHARS = 40
MAX_HEALTH_CHARS = 200  # of a health check's last output
NO_HEALTH_CHECK = "none"  # the engines' word
MAX_LOG_LINE_BYTES = 1 << 16  # a longer line of a log is yielded in pieces
FRAME_HEADER_BYTES = 8  # stream number, three zeros, length as a big-endian 32-bit number


def parse_container(item: object, document: object, engine: str, states: Mapping[str, str]) -> Container:
    """Build a container from the engine's answers; one whose state is not told is `unknown`, so it is left alone.

    Args:
        item: The container's entry in the answer of GET /containers/json.
        document: The answer of GET /containers/ID/json; None if the engine refused it.
        engine: The engine's name.
        states: Docker's word for each state that this engine calls otherwise.
    """
    state = get_object(document, "State")
    labels = get_object(get_object(document, "Config"), "Labels") or get_object(item, "Labels")
    status = get_text(state, "Status", MAX_CODE_CHARS) or UNKNOWN_STATE
    health = get_object(state, "Health")
    health_status = get_text(health, "Status", MAX_CODE_CHARS)
    names = [name for name in get_list(item, "Names") if isinstance(name, str)]
    container_id = get_text(item, "Id")
    return Container(
        id=container_id,
        name=(get_text(document, "Name") or (clip_text(names[0]) if names else container_id)).lstrip("/"),
        engine=engine,
        slot=get_text(labels, container_request.SLOT_LABEL),
        digest=get_text(labels, container_request.DIGEST_LABEL),
        image=get_text(labels, container_request.IMAGE_LABEL),
        state=states.get(status, status),
        health="" if health_status == NO_HEALTH_CHECK else health_status,
        health_output=get_text(next(iter(get_list(health, "Log")[-1:]), None), "Output", MAX_HEALTH_CHARS).strip(),
        started=parse_engine_time(get_text(state, "StartedAt")),
        ended=parse_engine_time(get_text(state, "FinishedAt")),
        exit_code=get_integer(state, "ExitCode") or 0,
        oom_killed=state.get("OOMKilled") is True,
        claims=parse_claims(get_text(labels, container_request.CLAIMS_LABEL, MAX_LABEL_CHARS))
        or read_host_config(get_object(document, "HostConfig")),
    )


def parse_engine_time(text: str) -> float:
    """Return the epoch seconds of an engine's time; 0.0 for none, which engines write as the year 1."""
    try:
        return max(0.0, parse_timestamp(text or ""))
    except (ValueError, OverflowError):
        return 0.0


def strip_frame_headers(raw: bytes) -> str:
    """Return the text of an engine's log stream without its frame headers; a stream without frames is kept."""
    if raw[:1] not in (b"\0", b"\1", b"\2") or raw[1:4] != b"\0\0\0":
        return raw.decode(errors="replace").strip()
    parts: list[bytes] = []
    position = 0
    while position + FRAME_HEADER_BYTES <= len(raw):
        begin = position + FRAME_HEADER_BYTES
        (length,) = struct.unpack(">I", raw[position + 4 : begin])
        parts.append(raw[begin : begin + length])
        position = begin + length
    return b"".join(parts).decode(errors="replace").strip()


def split_log_stream(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of an engine's log stream as they come, without its frame headers.

    The lines of standard output and standard error are kept apart: a frame may end inside of a line.
    """
    lines: dict[int, bytes] = {}  # unfinished ones by stream
    for stream, text in _split_frames(chunks):
        *whole, rest = (lines.pop(stream, b"") + text).split(b"\n")
        yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
        while len(rest) > MAX_LOG_LINE_BYTES:
            yield rest[:MAX_LOG_LINE_BYTES].decode(errors="replace")
            rest = rest[MAX_LOG_LINE_BYTES:]
        if rest:
            lines[stream] = rest
    yield from (line.decode(errors="replace") for line in lines.values())


def _split_frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield stream number and text of each part of a frame; all text of a stream without frames belongs to stream 0."""
    pending, stream, left = b"", 0, 0  # `left` bytes of the frame of `stream` are to come
    has_frames: bool | None = None  # None: too little has come to tell
    for chunk in chunks:
        pending += chunk
        if has_frames is None and len(pending) >= FRAME_HEADER_BYTES:
            has_frames = pending[:1] in (b"\0", b"\1", b"\2") and pending[1:4] == b"\0\0\0"
        if has_frames is False:
            yield 0, pending
            pending = b""
        while has_frames and (pending if left else len(pending) >= FRAME_HEADER_BYTES):
            if left:
                text, pending = pending[:left], pending[left:]
                left -= len(text)
                yield stream, text
            else:
                stream = pending[0]
                (left,) = struct.unpack(">I", pending[4:FRAME_HEADER_BYTES])
                pending = pending[FRAME_HEADER_BYTES:]
    if has_frames is None and pending:
        yield 0, pending
