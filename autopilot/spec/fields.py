"""The types of single values in a job spec.

Each is a pydantic type that runs one plain function of this package, so that every message is ours, and carries the
JSON Schema that an editor shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from autopilot.spec import addresses, cron, posix, units
from autopilot.spec.units import shown


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"cannot be {shown(value)}; write a string in quotes")
    if not value.strip():
        raise ValueError("cannot be empty; leave the key out to get its default")
    return value


def text_or_nothing(value: Any) -> str | None:
    """A key that a template filled with a variable that is not set counts as left out."""
    return None if value == "" else text(value)


def absolute_path(value: Any) -> str:
    if not text(value).startswith("/"):
        raise ValueError(f"cannot be {shown(value)}; write an absolute path")
    return str(value)


def socket_path(value: Any) -> str:
    path = text(value)
    if len(path.encode()) > 107:
        raise ValueError(f"cannot be longer than 107 bytes (the limit of a unix socket), got {len(path.encode())}")
    return path


def argv(value: Any) -> tuple[str, ...]:
    """A command: a string is split at spaces, as ContainerPilot does it; an array is taken as it is."""
    if isinstance(value, str):
        words: list[Any] = value.split()
    elif isinstance(value, list | tuple):
        words = [str(word) if isinstance(word, int | float) and not isinstance(word, bool) else word for word in value]
    else:
        raise ValueError(f"cannot be {shown(value)}; write a string (split at spaces) or an array of strings")
    for word in words:
        if not isinstance(word, str):
            raise ValueError(f"cannot hold {shown(word)}; each word of a command is a string")
    if not words or not words[0].strip():
        raise ValueError("cannot be empty; write a string (split at spaces) or an array of strings")
    return tuple(words)


def texts(value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"cannot be {shown(value)}; write an array of strings")
    return tuple(text(item) for item in items)


def positive_duration(value: Any) -> float:
    result = units.duration(value)
    if result == 0:
        raise ValueError("cannot be 0; write a duration above it")
    return result


RestartWord = Literal["unlimited", "on-failure", "never"]


def restarts(value: Any) -> int | RestartWord:
    words: tuple[RestartWord, ...] = ("unlimited", "on-failure", "never")
    for word in words:
        if value == word:
            return word
    try:
        return units.whole(value, 0, 1_000_000_000)
    except ValueError:
        message = f'cannot be {shown(value)}; write a number of restarts, "unlimited", "on-failure" or "never"'
        raise ValueError(message) from None


def number_list(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"cannot be {shown(value)}; write an array of numbers")
    numbers = tuple(units.number(item) for item in value)
    if any(after <= before for before, after in pairwise(numbers)):
        raise ValueError("cannot be out of order; write the buckets from the smallest to the largest")
    return numbers


def metadata(value: Any) -> dict[str, str]:
    """Metadata of a service, as Consul takes it."""
    if not isinstance(value, dict):
        raise ValueError(f"cannot be {shown(value)}; write an object of names and strings")
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
            raise ValueError(f"cannot use {shown(name)} as a name; at most 128 letters, digits, _ and -")
        if isinstance(text, bool) or not isinstance(text, str | int | float) or len(str(text)) > 512:
            raise ValueError(f'"{name}" cannot be {shown(text)}; write a string of at most 512 characters')
    return {name: str(text) for name, text in value.items()}


def user(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?", value):
        raise ValueError(f"cannot be {shown(value)}; write a name or a numeric id")
    return value


def one_of(*known: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            near = posix.suggestion(value, known) if isinstance(value, str) else ""
            raise ValueError(f"cannot be {shown(value)}; one of {', '.join(known)}{near}")
        return value

    return check


def level(value: Any) -> str:
    return one_of("DEBUG", "INFO", "WARN", "ERROR", "FATAL", "PANIC")(
        value.upper() if isinstance(value, str) else value
    )


def _number_between(least: float, most: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        result = units.number(value)
        if not least <= result <= most:
            raise ValueError(f"cannot be {shown(value)}; it must be from {least:g} to {most:g}")
        return result

    return check


def _whole_between(least: int, most: int) -> Callable[[Any], int]:
    return lambda value: units.whole(value, least, most)


_TEXT = {"type": "string"}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_AMOUNT = {"type": ["number", "string"]}
_MAP = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}


def _schema(shape: dict[str, Any], **more: Any) -> WithJsonSchema:
    return WithJsonSchema({**shape, **more})


Text = Annotated[str, PlainValidator(text), _schema(_TEXT, minLength=1)]
MaybeText = Annotated[str | None, PlainValidator(text_or_nothing), _schema({"type": ["string", "null"]})]
AbsolutePath = Annotated[str, PlainValidator(absolute_path), _schema(_TEXT, pattern="^/")]
SocketPath = Annotated[str, PlainValidator(socket_path), _schema(_TEXT, maxLength=107)]
Argv = Annotated[tuple[str, ...], PlainValidator(argv), _schema(_TEXTS)]
Texts = Annotated[tuple[str, ...], PlainValidator(texts), _schema(_TEXTS)]
Flag = Annotated[bool, PlainValidator(units.flag), _schema({"type": ["boolean", "string"]})]
Port = Annotated[int, PlainValidator(_whole_between(1, 65535)), _schema(_AMOUNT)]
Count = Annotated[int, PlainValidator(_whole_between(1, 1_000_000)), _schema(_AMOUNT)]
Order = Annotated[int, PlainValidator(_whole_between(-1000, 1000)), _schema(_AMOUNT)]
Cpus = Annotated[float, PlainValidator(_number_between(0.01, 100_000)), _schema(_AMOUNT)]
Factor = Annotated[float, PlainValidator(_number_between(1, 1000)), _schema(_AMOUNT)]
Duration = Annotated[float, PlainValidator(units.duration), _schema(_AMOUNT)]
PositiveDuration = Annotated[float, PlainValidator(positive_duration), _schema(_AMOUNT)]
Size = Annotated[int, PlainValidator(units.size), _schema(_AMOUNT)]
Share = Annotated[float, PlainValidator(units.share), _schema(_AMOUNT)]
Numbers = Annotated[tuple[float, ...], PlainValidator(number_list), _schema({"type": "array", "items": _AMOUNT})]
SignalNumber = Annotated[int, PlainValidator(posix.signal_number), _schema({"type": ["string", "integer"]})]
Umask = Annotated[int, PlainValidator(posix.umask), _schema(_TEXT, pattern="^(0o?)?[0-7]{1,3}$")]
Limits = Annotated[dict[str, int], PlainValidator(posix.limits), _schema(_MAP)]
Environment = Annotated[dict[str, str], PlainValidator(posix.environment), _schema(_MAP)]
Metadata = Annotated[dict[str, str], PlainValidator(metadata), _schema(_MAP)]
User = Annotated[str, PlainValidator(user), _schema({"type": ["string", "integer"]})]
Restarts = Annotated[int | RestartWord, PlainValidator(restarts), _schema({"type": ["integer", "string"]})]
Cron = Annotated[str, PlainValidator(cron.expression), _schema(_TEXT, examples=["*/5 * * * *", "@daily"])]
Level = Annotated[str, PlainValidator(level), _schema(_TEXT)]
Url = Annotated[str, PlainValidator(addresses.url), _schema(_TEXT, format="uri")]
HostPort = Annotated[tuple[str, int], PlainValidator(addresses.host_port), _schema({"type": ["string", "integer"]})]
StatusRange = Annotated[
    tuple[int, int], PlainValidator(addresses.status_range), _schema({"type": ["integer", "string", "array"]})
]
Interfaces = Annotated[tuple[str, ...], PlainValidator(addresses.interfaces), _schema(_TEXTS)]
Headers = Annotated[dict[str, str], PlainValidator(addresses.headers), _schema(_MAP)]
