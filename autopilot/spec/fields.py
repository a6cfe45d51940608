"""Define the types of single values in a job spec.

Every type runs one plain function of this package, so that no message comes from pydantic, and has the JSON Schema that
an editor shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from autopilot.spec import address_rules, cron_expressions, os_names, privilege_names, quantities
from autopilot.spec.command_words import split_words
from autopilot.spec.quantities import InvalidValueError, format_value
from autopilot.spec.vocabulary import FACILITIES

MAX_NAME_CHARS = 255  # as of a file
MAX_ID = (1 << 32) - 2  # of users and groups; the next number means "unchanged" to the kernel


def parse_text(value: Any) -> str:
    """Return a string that is not blank."""
    if not isinstance(value, str):
        raise InvalidValueError(f"cannot be {format_value(value)}; write a string in quotes")
    if not value.strip():
        raise InvalidValueError("cannot be empty; leave the key out to get its default")
    return value


def parse_name(value: Any) -> str:
    """Return a name that fits into a line of the log."""
    name = parse_text(value)
    if len(name) > MAX_NAME_CHARS:
        raise InvalidValueError(f"cannot be longer than {MAX_NAME_CHARS} characters, got {len(name)}")
    return name


def parse_optional_text(value: Any) -> str | None:
    """Return a string; None for "", which a template writes for a variable that is not set."""
    return None if value == "" else parse_text(value)


def parse_absolute_path(value: Any) -> str:
    """Return an absolute path."""
    if not parse_text(value).startswith("/"):
        raise InvalidValueError(f"cannot be {format_value(value)}; write an absolute path")
    return str(value)


def parse_socket_path(value: Any) -> str:
    """Return a path short enough for a unix socket."""
    path = parse_text(value)
    if len(path.encode()) > 107:
        raise InvalidValueError(
            f"cannot be longer than 107 bytes (the limit of a unix socket), got {len(path.encode())}"
        )
    return path


def parse_argv(value: Any) -> tuple[str, ...]:
    """Return the words of a command: a string is split at white space of ASCII, an array is unchanged."""
    if isinstance(value, str):
        words: list[Any] = [*split_words(value)]
    elif isinstance(value, list | tuple):
        words = [str(word) if isinstance(word, int | float) and not isinstance(word, bool) else word for word in value]
    else:
        raise InvalidValueError(
            f"cannot be {format_value(value)}; write a string (split at spaces) or an array of strings"
        )
    for word in words:
        if not isinstance(word, str):
            raise InvalidValueError(f"cannot contain {format_value(word)}; each word of a command is a string")
    if not words or not words[0].strip():
        raise InvalidValueError("cannot be empty; write a string (split at spaces) or an array of strings")
    return tuple(words)


def parse_text_list(value: Any) -> tuple[str, ...]:
    """Return strings that are not blank, from an array or from one string."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise InvalidValueError(f"cannot be {format_value(value)}; write an array of strings")
    return tuple(parse_text(item) for item in items)


def parse_positive_duration(value: Any) -> float:
    """Return a duration above 0, in seconds."""
    result = quantities.parse_duration(value)
    if result == 0:
        raise InvalidValueError("cannot be 0; write a duration above 0")
    return result


RestartWord = Literal["unlimited", "on-failure", "never"]


def parse_restarts(value: Any) -> int | RestartWord:
    """Return a number of restarts, or a word for them."""
    words: tuple[RestartWord, ...] = ("unlimited", "on-failure", "never")
    for word in words:
        if value == word:
            return word
    try:
        return quantities.parse_whole_number(value, 0, 1_000_000_000)
    except ValueError:
        message = f'cannot be {format_value(value)}; write a number of restarts, "unlimited", "on-failure" or "never"'
        raise InvalidValueError(message) from None


def parse_number_list(value: Any) -> tuple[float, ...]:
    """Return numbers in ascending order."""
    if not isinstance(value, list | tuple):
        raise InvalidValueError(f"cannot be {format_value(value)}; write an array of numbers")
    numbers = tuple(quantities.parse_number(item) for item in value)
    if any(after <= before for before, after in pairwise(numbers)):
        raise InvalidValueError("cannot be out of order; write the buckets from the smallest to the largest")
    return numbers


def parse_metadata(value: Any) -> dict[str, str]:
    """Return metadata of a service, within Consul's limits; numbers become text."""
    if not isinstance(value, dict):
        raise InvalidValueError(f"cannot be {format_value(value)}; write an object of names and strings")
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
            raise InvalidValueError(f"cannot use {format_value(name)} as a name; at most 128 letters, digits, _ and -")
        if isinstance(text, bool) or not isinstance(text, str | int | float) or len(str(text)) > 512:
            raise InvalidValueError(
                f'"{name}" cannot be {format_value(text)}; write a string of at most 512 characters'
            )
    return {name: str(text) for name, text in value.items()}


def parse_user(value: Any) -> str:
    """Return the name or the numeric id of a user or a group."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(quantities.parse_whole_number(value, 0, MAX_ID))
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?", value):
        raise InvalidValueError(f"cannot be {format_value(value)}; write a name or a numeric id")
    if value.isdigit():
        return str(quantities.parse_whole_number(value, 0, MAX_ID))
    return value


def build_choice_validator(*known: str) -> Callable[[Any], str]:
    """Return a function that accepts the known words only."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            near = os_names.format_suggestion(value, known) if isinstance(value, str) else ""
            raise InvalidValueError(f"cannot be {format_value(value)}; one of {', '.join(known)}{near}")
        return value

    return check


def parse_log_level(value: Any) -> str:
    """Return a log level in upper case."""
    level = value.upper() if isinstance(value, str) else value
    return build_choice_validator("DEBUG", "INFO", "WARN", "ERROR", "FATAL", "PANIC")(
        "WARN" if level == "WARNING" else level
    )


def parse_log_format(value: Any) -> str:
    """Return a log format in lower case."""
    return build_choice_validator("default", "auto", "text", "json")(value.lower() if isinstance(value, str) else value)


def parse_log_output(value: Any) -> str:
    """Return stdout, stderr (written in any case) or the path of a file."""
    text = parse_text(value)
    return text.lower() if text.lower() in ("stdout", "stderr") else text


def parse_expression(value: Any) -> str:
    """Return a regular expression."""
    try:
        re.compile(parse_text(value))
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidValueError(
            f"cannot be {format_value(value)}; write a regular expression of Python: {error}"
        ) from None
    return str(value)


def parse_expressions(value: Any) -> tuple[str, ...]:
    """Return regular expressions, from an array or from one string."""
    return tuple(parse_expression(item) for item in parse_text_list(value))


def _build_number_validator(minimum: float, maximum: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        result = quantities.parse_number(value)
        if not minimum <= result <= maximum:
            raise InvalidValueError(f"cannot be {format_value(value)}; it must be from {minimum:g} to {maximum:g}")
        return result

    return check


def _build_whole_number_validator(minimum: int, maximum: int) -> Callable[[Any], int]:
    return lambda value: quantities.parse_whole_number(value, minimum, maximum)


_TEXT_SCHEMA = {"type": "string"}
_TEXT_LIST_SCHEMA = {"anyOf": [_TEXT_SCHEMA, {"type": "array", "items": _TEXT_SCHEMA}]}
_AMOUNT_SCHEMA = {"type": ["number", "string"]}
_MAP_SCHEMA = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}


def _build_schema(shape: dict[str, Any], **more: Any) -> WithJsonSchema:
    return WithJsonSchema({**shape, **more})


Text = Annotated[str, PlainValidator(parse_text), _build_schema(_TEXT_SCHEMA, minLength=1)]
Name = Annotated[str, PlainValidator(parse_name), _build_schema(_TEXT_SCHEMA, minLength=1, maxLength=MAX_NAME_CHARS)]
OptionalText = Annotated[str | None, PlainValidator(parse_optional_text), _build_schema({"type": ["string", "null"]})]
AbsolutePath = Annotated[str, PlainValidator(parse_absolute_path), _build_schema(_TEXT_SCHEMA, pattern="^/")]
SocketPath = Annotated[str, PlainValidator(parse_socket_path), _build_schema(_TEXT_SCHEMA, maxLength=107)]
Argv = Annotated[tuple[str, ...], PlainValidator(parse_argv), _build_schema(_TEXT_LIST_SCHEMA)]
TextList = Annotated[tuple[str, ...], PlainValidator(parse_text_list), _build_schema(_TEXT_LIST_SCHEMA)]
Flag = Annotated[bool, PlainValidator(quantities.parse_flag), _build_schema({"type": ["boolean", "string", "integer"]})]
Port = Annotated[int, PlainValidator(_build_whole_number_validator(1, 65535)), _build_schema(_AMOUNT_SCHEMA)]
Count = Annotated[int, PlainValidator(_build_whole_number_validator(1, 1_000_000)), _build_schema(_AMOUNT_SCHEMA)]
Order = Annotated[int, PlainValidator(_build_whole_number_validator(-1000, 1000)), _build_schema(_AMOUNT_SCHEMA)]
Cpus = Annotated[float, PlainValidator(_build_number_validator(0.01, 100_000)), _build_schema(_AMOUNT_SCHEMA)]
Factor = Annotated[float, PlainValidator(_build_number_validator(1, 1000)), _build_schema(_AMOUNT_SCHEMA)]
Duration = Annotated[float, PlainValidator(quantities.parse_duration), _build_schema(_AMOUNT_SCHEMA)]
PositiveDuration = Annotated[float, PlainValidator(parse_positive_duration), _build_schema(_AMOUNT_SCHEMA)]
Size = Annotated[int, PlainValidator(quantities.parse_size), _build_schema(_AMOUNT_SCHEMA)]
Share = Annotated[float, PlainValidator(quantities.parse_share), _build_schema(_AMOUNT_SCHEMA)]
NumberList = Annotated[
    tuple[float, ...], PlainValidator(parse_number_list), _build_schema({"type": "array", "items": _AMOUNT_SCHEMA})
]
SignalNumber = Annotated[
    int, PlainValidator(os_names.parse_stop_signal), _build_schema({"type": ["string", "integer"]})
]
Umask = Annotated[int, PlainValidator(os_names.parse_umask), _build_schema(_TEXT_SCHEMA, pattern="^(0o?)?[0-7]{1,3}$")]
Limits = Annotated[dict[str, int], PlainValidator(os_names.parse_limits), _build_schema(_MAP_SCHEMA)]
Capabilities = Annotated[
    tuple[int, ...],
    PlainValidator(privilege_names.parse_capabilities),
    _build_schema({"anyOf": [{"const": "none"}, {"type": "array", "items": _TEXT_SCHEMA}]}),
]
SecureBits = Annotated[
    int, PlainValidator(privilege_names.parse_secure_bits), _build_schema({"type": "array", "items": _TEXT_SCHEMA})
]
Environment = Annotated[dict[str, str], PlainValidator(os_names.parse_environment), _build_schema(_MAP_SCHEMA)]
Metadata = Annotated[dict[str, str], PlainValidator(parse_metadata), _build_schema(_MAP_SCHEMA)]
User = Annotated[str, PlainValidator(parse_user), _build_schema({"type": ["string", "integer"]})]
Restarts = Annotated[int | RestartWord, PlainValidator(parse_restarts), _build_schema({"type": ["integer", "string"]})]
Cron = Annotated[
    str,
    PlainValidator(cron_expressions.parse_cron_expression),
    _build_schema(_TEXT_SCHEMA, examples=["*/5 * * * *", "@daily"]),
]
LogLevel = Annotated[str, PlainValidator(parse_log_level), _build_schema(_TEXT_SCHEMA)]
LogOutput = Annotated[str, PlainValidator(parse_log_output), _build_schema(_TEXT_SCHEMA, minLength=1)]
Facility = Annotated[
    str, PlainValidator(build_choice_validator(*FACILITIES)), _build_schema(_TEXT_SCHEMA, enum=list(FACILITIES))
]
Expression = Annotated[str, PlainValidator(parse_expression), _build_schema(_TEXT_SCHEMA, format="regex")]
Expressions = Annotated[tuple[str, ...], PlainValidator(parse_expressions), _build_schema(_TEXT_LIST_SCHEMA)]
LogUrl = Annotated[
    address_rules.LogAddress,
    PlainValidator(address_rules.parse_log_url),
    _build_schema(_TEXT_SCHEMA, pattern="^(tcp|tls|udp|otlp\\+https?)://"),
]
Url = Annotated[str, PlainValidator(address_rules.parse_url), _build_schema(_TEXT_SCHEMA, format="uri")]
HostPort = Annotated[
    tuple[str, int], PlainValidator(address_rules.parse_host_port), _build_schema({"type": ["string", "integer"]})
]
StatusRange = Annotated[
    tuple[int, int],
    PlainValidator(address_rules.parse_status_range),
    _build_schema({"type": ["integer", "string", "array"]}),
]
Interfaces = Annotated[
    tuple[str, ...], PlainValidator(address_rules.parse_interfaces), _build_schema(_TEXT_LIST_SCHEMA)
]
Headers = Annotated[dict[str, str], PlainValidator(address_rules.parse_headers), _build_schema(_MAP_SCHEMA)]
