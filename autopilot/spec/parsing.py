"""Parse JSON or JSON5 into plain values, and find the place of each value in the text."""

from __future__ import annotations

import json
import math
from typing import Any

from autopilot.errors import AutopilotError
from autopilot.spec import scanner
from autopilot.spec.key_paths import KeyPath
from autopilot.spec.scanner import Positions, SpecSyntaxError

__all__ = ["ParsedTree", "SpecSyntaxError", "parse"]


class ParsedTree:
    """Parsed plain values. Positions are computed at first use: a spec without problems never needs them."""

    def __init__(self, text: str, value: Any, positions: Positions | None = None) -> None:
        self.value = value
        self._text = text
        self._positions = positions

    @property
    def positions(self) -> Positions:
        """Offsets of keys and values in the text."""
        if self._positions is None:
            self._positions = scanner.scan(self._text)
        return self._positions

    def list_duplicate_keys(self) -> list[KeyPath]:
        """Return the keys given twice in one object; only text that strict JSON refused can have any.

        A key is listed once, however often it is given, and keys inside the value of a listed key are not.
        """
        listed: dict[KeyPath, None] = {}
        for path in sorted(self._positions.duplicates if self._positions is not None else (), key=len):
            if not any(path[:length] in listed for length in range(len(path))):
                listed[path] = None
        return list(listed)

    def find_offset(self, path: KeyPath, *, at_key: bool = False) -> int:
        """Return the offset of the value or key at a path, or of its nearest parent in the text."""
        if at_key and path in self.positions.keys:
            return self.positions.keys[path]
        while path not in self.positions.values:
            path = path[:-1]
        return self.positions.values[path]


class _DuplicateKeyError(AutopilotError, ValueError):
    pass


class _NumberError(AutopilotError, ValueError):
    pass


def parse(text: str) -> ParsedTree:
    """Parse JSON or JSON5.

    The standard library's parser handles strict JSON, which is the cheap path. Text that it refuses is JSON5 or broken:
    then the scanner goes first, because it knows exact places, and pyjson5 makes the values. Duplicate keys are kept in
    `positions.duplicates`, so that they are reported together with everything else.

    Args:
        text: The whole text.

    Returns:
        The values with their positions.

    Raises:
        SpecSyntaxError: The text is neither, with the place of the first mistake.
    """
    try:
        if "\\u" in text:  # may be a NUL or half a surrogate pair, which json lets pass
            raise _DuplicateKeyError
        return ParsedTree(text, json.loads(text, **_STRICT_HOOKS))
    except (ValueError, RecursionError):
        positions = scanner.scan(text)
    import pyjson5

    try:
        value = pyjson5.decode(text, maxdepth=scanner.MAX_DEPTH + 2)
    except pyjson5.Json5Exception as error:
        raise SpecSyntaxError(f"cannot be parsed as JSON5: {error.args[0]}", 0, ()) from error
    return ParsedTree(text, value, positions)


def _require_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DuplicateKeyError
    return members


def _parse_int(text: str) -> int:
    if len(text) > scanner.MAX_NUMBER_CHARS:
        raise _NumberError
    return int(text)


def _parse_float(text: str) -> float:
    number = float(text)
    if len(text) > scanner.MAX_NUMBER_CHARS or not math.isfinite(number):
        raise _NumberError
    return number


def _refuse_constant(_: str) -> float:  # NaN and Infinity, which json takes
    raise _NumberError


# what they refuse, the scanner refuses too, with its place
_STRICT_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _require_unique_keys,
    "parse_int": _parse_int,
    "parse_float": _parse_float,
    "parse_constant": _refuse_constant,
}
