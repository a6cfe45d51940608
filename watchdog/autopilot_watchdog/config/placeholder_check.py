"""Check the placeholders of every text of the configuration: those that nothing fills in are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from autopilot_watchdog.config.placeholders import (
    EVENT_PLACEHOLDERS,
    IMAGE_PLACEHOLDERS,
    NAME_PLACEHOLDERS,
    PREFLIGHT_PLACEHOLDERS,
    SLOT_PLACEHOLDERS,
    find_unknown_placeholders,
)
from autopilot_watchdog.config.slot_config import FILLED_KEYS, FILLED_TEXT_KEYS

Pointer = tuple[str | int, ...]

KNOWN_PLACEHOLDERS: Mapping[Pointer, tuple[str, ...]] = {  # by the names of the keys, without indexes
    **{("slots", key): SLOT_PLACEHOLDERS for key in (*FILLED_KEYS, *FILLED_TEXT_KEYS, "hostname")},
    ("slots", "name"): NAME_PLACEHOLDERS,
    ("slots", "verify", "exec"): IMAGE_PLACEHOLDERS,
    ("slots", "preflight", "exec"): PREFLIGHT_PLACEHOLDERS,
    ("notify", "exec"): EVENT_PLACEHOLDERS,
    ("consul", "node"): SLOT_PLACEHOLDERS,
}


def find_placeholder_problems(settings: object, pointer: Pointer = ()) -> Iterator[tuple[Pointer, str]]:
    """Yield place and sentence for each key with a placeholder that nothing fills in.

    Args:
        settings: A dataclass of the configuration.
        pointer: Its place.
    """
    assert is_dataclass(settings)
    for field in fields(settings):
        value, place = getattr(settings, field.name), (*pointer, field.name)
        if is_dataclass(value):
            yield from find_placeholder_problems(value, place)
        elif isinstance(value, tuple) and any(is_dataclass(item) for item in value):
            for index, item in enumerate(value):
                yield from find_placeholder_problems(item, (*place, index))
        elif sentence := _describe_unknown(value, place):
            yield place, sentence


def _describe_unknown(value: object, place: Pointer) -> str:
    """Return a sentence about the first unknown placeholder of a key; "" if there is none."""
    known = KNOWN_PLACEHOLDERS.get(tuple(part for part in place if isinstance(part, str)), ())
    unknown = sorted({name for text in _list_texts(value) for name in find_unknown_placeholders(text, known)})
    if not unknown:
        return ""
    name = unknown[0]
    if not known:
        return f"has the placeholder {{{name}}}, and in this key none is filled in"
    shown = ", ".join(f"{{{one}}}" for one in known)
    return f"has an unknown placeholder {{{name}}}; known here: {shown}; {{{{{name}}}}} is the text {{{name}}}"


def _list_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for pair in value.items() for text in pair if isinstance(text, str))
    elif isinstance(value, tuple):
        yield from (text for text in value if isinstance(text, str))
