"""From text to a tree of plain values that knows where each of them stands."""

from __future__ import annotations

import json
from typing import Any

from autopilot.spec import scanner
from autopilot.spec.scanner import KeyPath, Positions, SpecSyntaxError

__all__ = ["KeyPath", "ParsedTree", "SpecSyntaxError", "parse"]


class ParsedTree:
    """The parsed value. Positions are looked for when somebody asks: a spec without problems never needs them."""

    def __init__(self, text: str, value: Any, positions: Positions | None = None) -> None:
        self.value = value
        self._text = text
        self._positions = positions

    @property
    def positions(self) -> Positions:
        if self._positions is None:
            self._positions = scanner.scan(self._text)
        return self._positions

    def list_duplicate_keys(self) -> list[KeyPath]:
        """Keys that stand twice in one object. Only a text that went through the scanner can have any."""
        return [] if self._positions is None else self._positions.duplicates

    def find_offset(self, path: KeyPath, *, at_key: bool = False) -> int:
        """Where the value (or its key) stands; for a path that is not in the text, where its nearest parent stands."""
        if at_key and path in self.positions.keys:
            return self.positions.keys[path]
        while path not in self.positions.values:
            path = path[:-1]
        return self.positions.values[path]


class _DuplicateKeyError(ValueError):
    pass


def parse(text: str) -> ParsedTree:
    """Parse JSON or JSON5. Raises SyntaxProblem with the place of the first thing that is wrong.

    Strict JSON takes the standard library's parser, which is the cheap path. What it refuses is JSON5 or broken; then
    the scanner goes first, because it knows the exact place, and pyjson5 makes the values. Duplicate keys are left in
    `positions.duplicates`, so that they are reported together with everything else.
    """
    try:
        if "\\u" in text:  # may be a NUL or half a surrogate pair, which json lets pass
            raise _DuplicateKeyError
        return ParsedTree(text, json.loads(text, object_pairs_hook=_require_unique_keys))
    except (ValueError, RecursionError):
        positions = scanner.scan(text)
    import pyjson5

    try:
        value = pyjson5.decode(text, maxdepth=scanner.MAX_DEPTH + 2)
    except pyjson5.Json5Exception as error:
        raise SpecSyntaxError(f"cannot be parsed as JSON5: {error.args[0]}", 0, ()) from error
    return ParsedTree(text, value, positions)


def _require_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found
