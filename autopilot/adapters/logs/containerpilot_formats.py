"""Render lines of the log as ContainerPilot does, for its users' parsers: `default`, `text` (logfmt) and `json`.

`text` and `json` are those of Go's logrus: `time` in the local zone, `level`, `msg`, then the other fields in
alphabetical order. Lines of programs are entries of level INFO with `job` (or `check`) and `pid`. `default` is the
time, for a program's line `job` (or `check`) and `pid`, and the message; lines of the supervisor have the job's name
before the message and the fields after it. None of them has an event id. The sentences that its users grep for are in
its words.

Sources, to compare byte for byte:
- `default`, its time and its message: `DefaultLogFormatter` in ContainerPilot's config/logger/logging.go, of 3.6.2. It
  prints `time.RFC3339Nano`, which has up to nine digits and no zeros at the end, one space, and the message.
- `default`, job and pid: ContainerPilot's issue 544 and change 547, released in 3.7: they are "prepended" to the lines
  of jobs. Neither shows a line, so `key=value`, the form of `text`, is our choice.
- `job`, `check` and `pid`: `NewCommand` and `Run` in its commands/commands.go.
- `text` and `json`: `TextFormatter` and `JSONFormatter` of logrus 1.0, whose times are RFC3339 and, since
  ContainerPilot's change 546, RFC3339Nano in `json`. An empty message is left out of `text`, an empty value is bare,
  and other values are quoted as Go's `%q` does. Go's JSON escapes `<`, `>` and `&`.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from autopilot.adapters.logs.log_entry import LogEntry, LogFormat
from autopilot.process.line_buffer import escape_controls, escape_json
from autopilot.timestamps import format_local_timestamp

TIMEOUT_SENTENCE = re.compile(r"ran longer than its timeout of (\S+) s(.*)")
UNQUOTED = re.compile(r"[A-Za-z0-9._/@^+-]*")  # a value that logfmt writes without quotes
GO_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
GO_ESCAPES |= {"\\": r"\\", '"': r"\""}
GO_JSON_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})
NANOSECONDS_PER_SECOND = 1_000_000_000
SECONDS_END = len("2026-01-31T12:00:00")


class DefaultFormat:
    """Lines of the form `TIME MESSAGE`."""

    programs_are_info = True

    def __init__(self, _context: Mapping[str, str]) -> None:
        pass

    def format_entry(self, entry: LogEntry) -> str:
        """Return one line of the supervisor, without its line end; `entry` is consumed."""
        del entry["level"]
        has_subject = use_known_words(entry)
        job, message = entry.pop("job", None), entry.pop("message")
        fields = "".join(f" {key}={value}" for key, value in entry.items())
        return escape_controls(f"{_format_now()} {f'{job}: ' if job and not has_subject else ''}{message}{fields}")

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """Return the output of a job or a check, each line with its line end."""
        names = "".join(f" {key}={value}" for key, value in _select_fields(fields).items())
        prefix = f"{_format_now()}{escape_controls(names)} "
        return "".join(f"{prefix}{escape_controls(text)}\n" for text in texts)


class _FieldsFormat:
    """Lines of named fields; subclasses write them in `_format_line`."""

    programs_are_info = True

    def __init__(self, context: Mapping[str, str]) -> None:
        self._context = context

    def format_entry(self, entry: LogEntry) -> str:
        """Return one line of the supervisor, without its line end; `entry` is consumed."""
        use_known_words(entry)
        return self._format_line(entry.pop("level"), entry.pop("message"), entry)

    def format_program_lines(self, fields: Mapping[str, object], texts: Sequence[str]) -> str:
        """Return the output of a job or a check, each line with its line end."""
        return "".join(self._format_line("info", text, _select_fields(fields)) + "\n" for text in texts)

    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        raise NotImplementedError


class LogfmtFormat(_FieldsFormat):
    """Lines of the form `time=... level=... msg=... key=value`."""

    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        first = {"time": format_local_timestamp(time.time()), "level": level} | ({"msg": message} if message else {})
        rest = {key: value for key, value in sorted({**self._context, **fields}.items())}
        return " ".join(f"{key}={_quote(str(value))}" for key, value in {**first, **rest}.items())


class JsonFormat(_FieldsFormat):
    """One JSON object per line, with its keys in alphabetical order."""

    def _format_line(self, level: str, message: str, fields: Mapping[str, object]) -> str:
        entry = {**self._context, **fields, "level": level, "msg": message, "time": _format_now()}
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
        return escape_json(text).translate(GO_JSON_ESCAPES)


FORMATS: Mapping[str, Callable[[Mapping[str, str]], LogFormat]] = {
    "default": DefaultFormat,
    "text": LogfmtFormat,
    "json": JsonFormat,
}


def use_known_words(entry: LogEntry) -> bool:
    """Remove the event id of an entry, and put the sentence that it stands for into ContainerPilot's words.

    Returns:
        True for a sentence of ContainerPilot's, which names the job itself.
    """
    event, job, message = entry.pop("event", None), entry.get("job"), entry["message"]
    if event == "job_timed_out" and (found := TIMEOUT_SENTENCE.match(message)):
        entry["message"] = f"{job} timeout after {format_go_duration(float(found[1]))}{found[2]}"
    elif event == "job_exited" and message.startswith("cannot start: "):
        entry["message"] = f"unable to start {job}: {message.removeprefix('cannot start: ')}"
    elif event == "job_exited":
        status, out_of_memory = entry.get("status"), not message.startswith("ended, ")
        cause = f"{_describe_status(int(status))}{f' ({message})' if out_of_memory else ''}" if status else ""
        entry["message"] = f"{job} exited {f'with error: {cause}' if cause else 'without error'}"
    return bool(message != entry["message"])


def format_go_duration(seconds: float) -> str:
    """Return a duration as Go writes it: `200ms`, `1.5s`, `1m30s`, `1h0m0s`; not below a microsecond."""
    microseconds = round(seconds * 1e6)
    if microseconds < 1000:
        return f"{microseconds}µs" if microseconds else "0s"
    if microseconds < 1_000_000:
        return f"{_format_decimal(microseconds, 3)}ms"
    minutes, rest = divmod(microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_format_decimal(rest, 6)}s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def _format_decimal(number: int, digits: int) -> str:
    """Return `number` divided by 10 to the power of `digits`, without zeros at its end."""
    whole, fraction = divmod(number, 10**digits)
    return f"{whole}.{fraction:0{digits}}".rstrip("0").rstrip(".")


def _describe_status(status: int) -> str:
    """Return the meaning of a status in Go's words: `exit status 3`, `signal: killed`."""
    if status > 128 and (name := signal.strsignal(status - 128)):
        return f"signal: {name.lower()}"
    return f"exit status {status}"


def _select_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that ContainerPilot writes: it does not tell stdout from stderr."""
    return {key: value for key, value in fields.items() if key != "stream" and value is not None}


def _quote(value: str) -> str:
    return value if UNQUOTED.fullmatch(value) else quote_like_go(value)


def quote_like_go(text: str) -> str:
    """Return a text as Go's `%q` writes it."""
    return f'"{"".join(map(_escape_like_go, text))}"'


def _escape_like_go(character: str) -> str:
    if character in GO_ESCAPES:
        return GO_ESCAPES[character]
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def format_rfc3339_nano(nanoseconds: int) -> str:
    """Return a time as Go's layout `RFC3339Nano`, in the local zone; `nanoseconds` are counted since the epoch."""
    seconds, fraction = divmod(nanoseconds, NANOSECONDS_PER_SECOND)
    text = format_local_timestamp(seconds)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{text[:SECONDS_END]}{digits}{text[SECONDS_END:]}"


def _format_now() -> str:
    return format_rfc3339_nano(time.time_ns())
