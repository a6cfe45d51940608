"""Where things are in a JSON5 text, and exactly what is wrong with one that cannot be parsed.

The values themselves come from well-kept libraries (`autopilot.spec.parsing`); they give at best an offset and accept
duplicate keys. This walk gives, for each path, where its key and its value stand.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import NoReturn

import pyjson5

Path = tuple[str | int, ...]

DEEPEST = 32  # nesting; the deepest key of a job spec has 6 levels

_SKIP = re.compile(r"(?:[\s\ufeff]+|//[^\n\r\u2028\u2029]*|/\*.*?\*/)+", re.S)
_STRING = re.compile(r""""(?:[^"\\\n\r]|\\(?:\r\n|.))*"|'(?:[^'\\\n\r]|\\(?:\r\n|.))*'""", re.S)
_WORD = re.compile(r"""[^\s\ufeff{}\[\]:,"'/]+""")
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F]+|Infinity|NaN|(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
)
_IDENTIFIER = re.compile(r"(?:[\w$]|\\u[0-9a-fA-F]{4})+")
# What must not stand in a string: bad escapes, NUL (no argument or variable can hold it), half a surrogate pair.
_BAD_ESCAPE = re.compile(
    r"\\x(?![0-9a-fA-F]{2})|\\u(?![0-9a-fA-F]{4})|\\[1-9]|\\0|\\x00|\\u0000|\0|[\ud800-\udfff]"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_EXPONENT = re.compile(r"[0-9.+-]+[eE]")  # at the beginning: not in 0x1E, Infinity
_LONGEST_NUMBER = 100


class SyntaxProblem(Exception):
    """The text is not JSON5. `path` is how far the walk had come."""

    def __init__(self, message: str, offset: int, path: Path) -> None:
        self.message, self.offset, self.path = message, offset, path
        super().__init__(message)


@dataclass(slots=True)
class Positions:
    """Offsets of keys and values by path, and the keys that stand in one object twice."""

    values: dict[Path, int] = field(default_factory=dict)
    keys: dict[Path, int] = field(default_factory=dict)
    duplicates: list[Path] = field(default_factory=list)


def scan(text: str) -> Positions:
    """Walk the whole text. Raises SyntaxProblem at the first thing that is wrong."""
    scanner = _Scanner(text)
    scanner.value(())
    scanner.end()
    return scanner.found


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found = Positions()

    def value(self, path: Path) -> None:
        self.skip(path)
        self.found.values[path] = self.at
        if len(path) > DEEPEST:
            self.fail(f"cannot be nested deeper than {DEEPEST} levels", path)
        match self.text[self.at : self.at + 1]:
            case "{":
                self.members(path)
            case "[":
                self.items(path)
            case '"' | "'":
                self.string(path)
            case _:
                self.word(path)

    def members(self, path: Path) -> None:
        opened, self.at = self.at, self.at + 1
        while not self.closes("}", path):
            start = self.at
            child = (*path, self.key(path))
            if child in self.found.keys:
                self.found.duplicates.append(child)
            self.found.keys[child] = start
            self.expect(":", child, "after the key")
            self.value(child)
            self.separator("}", child, opened)

    def items(self, path: Path) -> None:
        opened, self.at = self.at, self.at + 1
        index = 0
        while not self.closes("]", path):
            self.value((*path, index))
            self.separator("]", (*path, index), opened)
            index += 1

    def key(self, path: Path) -> str:
        if self.text[self.at] in "\"'":
            return _unescaped(self.string(path))
        match = _WORD.match(self.text, self.at)
        if match and _IDENTIFIER.fullmatch(match[0]) and not match[0][0].isdigit():
            self.at = match.end()
            return _unescaped(f'"{match[0]}"')
        self.fail(f'expected a key or "}}", found {self.here()}', path)

    def string(self, path: Path) -> str:
        match = _STRING.match(self.text, self.at)
        if match is None:
            self.fail(f"the string that begins here is not closed in its line; end it with {self.text[self.at]}", path)
        bad = _BAD_ESCAPE.search(match[0].replace("\\\\", "__"))
        if bad:
            self.at += bad.start()
            self.fail(f"a string cannot hold {bad[0]!a} here; for a backslash write two", path)
        self.at = match.end()
        return match[0]

    def word(self, path: Path) -> None:
        match = _WORD.match(self.text, self.at)
        if match is None:
            self.fail(f"expected a value, found {self.here()}", path)
        if match[0] not in ("true", "false", "null"):
            self.number(match[0], path)
        self.at = match.end()

    def number(self, text: str, path: Path) -> None:
        if not _NUMBER.fullmatch(text):
            self.fail(f"expected a value, found {self.here()}; put strings in quotes", path)
        exponent = _EXPONENT.match(text)
        if len(text) > _LONGEST_NUMBER or (exponent and math.isinf(float(text))):
            self.fail(f"this number is too large: {self.here()}", path)

    def separator(self, closing: str, path: Path, opened: int) -> None:
        self.skip(path)
        if self.text[self.at : self.at + 1] == ",":
            self.at += 1
        elif self.at >= len(self.text):
            self.unclosed(closing, path, opened)
        elif self.text[self.at] != closing:
            self.fail(f'expected "," or "{closing}" after the value, found {self.here()}', path)

    def closes(self, closing: str, path: Path) -> bool:
        self.skip(path)
        if self.at >= len(self.text):
            self.fail(f'expected "{closing}", found the end of the text', path)
        if self.text[self.at] == closing:
            self.at += 1
            return True
        return False

    def unclosed(self, closing: str, path: Path, opened: int) -> None:
        line = self.text.count("\n", 0, opened) + 1
        self.fail(
            f'expected "," or "{closing}", found the end; "{self.text[opened]}" of line {line} is not closed',
            path,
        )

    def expect(self, wanted: str, path: Path, where: str) -> None:
        self.skip(path)
        if self.text[self.at : self.at + 1] != wanted:
            self.fail(f'expected "{wanted}" {where}, found {self.here()}', path)
        self.at += 1

    def end(self) -> None:
        self.skip(())
        if self.at < len(self.text):
            hint = "; put the whole text in braces: {...}" if self.text[self.at] in ":," else ""
            self.fail(f"expected the end of the text, found {self.here()}{hint}", ())

    def skip(self, path: Path) -> None:
        match = _SKIP.match(self.text, self.at)
        if match:
            self.at = match.end()
        if self.text.startswith("/*", self.at):
            self.fail("this comment is not closed; end it with */", path)

    def here(self) -> str:
        if self.at >= len(self.text):
            return "the end of the text"
        match = _STRING.match(self.text, self.at) or _WORD.match(self.text, self.at)
        text = match[0] if match else self.text[self.at]
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        return shown if shown[0] in "\"'" else f'"{shown}"'

    def fail(self, message: str, path: Path) -> NoReturn:
        raise SyntaxProblem(message, self.at, path)


def _unescaped(quoted: str) -> str:
    return str(pyjson5.decode(quoted)) if "\\" in quoted else quoted[1:-1]
