"""Write dataclasses as JSON and build them again: quickly, because every pass does it under the lock of the state.

The reader of each type is made once. The writer leaves the values to the standard library's C encoder, so only the
outermost keys have lines of their own.
"""

from __future__ import annotations

import functools
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

Reader = Callable[[Any], Any]  # JSON value -> value of one type


def encode(value: Any) -> str:
    """Return a dataclass as a JSON object, with one line for each field."""
    lines = (
        f" {json.dumps(name)}: {json.dumps(part, default=_list_fields)}" for name, part in _list_fields(value).items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def decode(kind: Any, json_value: Any) -> Any:
    """Build a value of a type from JSON: dataclasses, mappings, tuples, plain values; ignore keys of newer versions.

    Raises:
        TypeError: The JSON value does not fit the type.
    """
    return _make_reader(kind)(json_value)


def _list_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass; raise TypeError for another value, as the encoder expects it."""
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _list_field_names(kind)}


@functools.cache
def _list_field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@functools.cache
def _make_reader(kind: Any) -> Reader:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return functools.partial(
            _read_object, kind, {field.name: _make_reader(hints[field.name]) for field in fields(kind)}
        )
    if origin is Mapping:
        read_value = _make_reader(inner[1])
        return lambda json_value: {key: read_value(value) for key, value in json_value.items()}
    if origin is tuple:
        read_item = _make_reader(inner[0])
        return lambda json_value: tuple(map(read_item, json_value))
    return functools.partial(_read_plain, kind)


def _read_object(kind: type, readers: Mapping[str, Reader], json_value: Any) -> Any:
    return kind(**{name: read(json_value[name]) for name, read in readers.items() if name in json_value})


def _read_plain(kind: type, json_value: Any) -> Any:
    if isinstance(json_value, kind):
        return json_value
    if kind is float and isinstance(json_value, int):
        return float(json_value)
    raise TypeError(f"{json_value!r} is not of type {kind.__name__}")
