"""Read JSON that others wrote: bounded in size, depth and numbers, with getters that check the type of each value.

Every JSON text that the watchdog reads comes through `parse_json`. A getter answers as if the key were absent when its
value has another type, so garbage means "nothing known" about that one value.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

MAX_DOCUMENT_BYTES = 16 << 20
MAX_DEPTH = 100  # of arrays and objects inside each other
MAX_DIGITS = 30  # of a whole number
MAX_TEXT_CHARS = 500  # of one text that others wrote, unless a caller sets another limit
MAX_INTEGER = 1 << 53  # beyond it JSON's numbers are not exact
# whole or unterminated; possessive, so that no input makes the search go back
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")
_LEVELS = {"[": 1, "{": 1, "]": -1, "}": -1}


def parse_json(
    text: str | bytes, *, object_pairs_hook: Callable[[list[tuple[str, object]]], object] | None = None
) -> Any:
    """Parse a JSON text.

    Args:
        text: The document; bytes are UTF-8.
        object_pairs_hook: As of json.loads.

    Raises:
        ValueError: The text is no JSON (json.JSONDecodeError), or is too large, too deep, or has a number out of range.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"the document is larger than {MAX_DOCUMENT_BYTES >> 20} MiB")
    decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    _check_depth(decoded)
    return json.loads(
        decoded,
        object_pairs_hook=object_pairs_hook,
        parse_int=_parse_integer,
        parse_float=_parse_float,
        parse_constant=_refuse_constant,
    )


def get_object(document: object, key: str) -> dict[str, Any]:
    """Return the object at a key; an empty one if there is none."""
    found = document.get(key) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def get_list(document: object, key: str) -> list[Any]:
    """Return the list at a key; an empty one if there is none."""
    found = document.get(key) if isinstance(document, dict) else None
    return found if isinstance(found, list) else []


def get_text(document: object, key: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Return the text at a key, cut after `limit` characters; "" if there is none."""
    found = document.get(key) if isinstance(document, dict) else None
    return clip_text(found, limit) if isinstance(found, str) else ""


def get_integer(document: object, key: str) -> int | None:
    """Return the whole number at a key; None if there is none, or an absurd one."""
    found = document.get(key) if isinstance(document, dict) else None
    return found if type(found) is int and abs(found) <= MAX_INTEGER else None


def clip_text(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Return at most `limit` characters of a text, all of which can be encoded; "..." stands for the rest."""
    cut = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return cut.encode("utf-8", "replace").decode("utf-8")


def _check_depth(text: str) -> None:
    """Raise ValueError for a document that is too deep, before a parser goes down into it."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    brackets = _NO_BRACKETS.sub("", _STRING.sub("", text))
    if max(itertools.accumulate(_LEVELS[bracket] for bracket in brackets), default=0) > MAX_DEPTH:
        raise ValueError(f"the document is deeper than {MAX_DEPTH} levels")


def _parse_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
