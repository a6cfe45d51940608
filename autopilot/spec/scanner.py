"""Find the place of each key and value in a JSON5 text, and the exact mistake in one that cannot be parsed.

Libraries make the values themselves (`autopilot.spec.parsing`), but report at best an offset and accept duplicate keys.
This walk records the offsets of the key and of the value at each path.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import NoReturn

import pyjson5

from autopilot.errors import AutopilotError
from autopilot.spec.key_paths import KeyPath

MAX_DEPTH = 32  # nesting; the deepest key of a job spec has 6 levels

_WHITESPACE_OR_COMMENTS = re.compile(r"(?:[\s\ufeff]+|//[^\n\r\u2028\u2029]*|/\*.*?\*/)+", re.S)
_STRING = re.compile(r""""(?:[^"\\\n\r]|\\(?:\r\n|.))*"|'(?:[^'\\\n\r]|\\(?:\r\n|.))*'""", re.S)
_WORD = re.compile(r"""[^\s\ufeff{}\[\]:,"'/]+""")
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F]+|Infinity|NaN|(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
)
_IDENTIFIER = re.compile(r"(?:[\w$]|\\u[0-9a-fA-F]{4})+")
# Refused in a string: bad escapes, NUL (no argument or variable can contain it), half a surrogate pair.
_BAD_ESCAPE = re.compile(
    r"\\x(?![0-9a-fA-F]{2})|\\u(?![0-9a-fA-F]{4})|\\[1-9]|\\0|\\x00|\\u0000|\0|[\ud800-\udfff]"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_EXPONENT = re.compile(r"[0-9.+-]+[eE]")  # only at the start: 0x1E and Infinity have no exponent
MAX_NUMBER_CHARS = 100


class SpecSyntaxError(AutopilotError):
    """A text that is not JSON5.

    Attributes:
        message: The mistake and its remedy.
        offset: Index of the first wrong character.
        path: Path of the value being read there.
    """

    def __init__(self, message: str, offset: int, path: KeyPath) -> None:
        self.message, self.offset, self.path = message, offset, path
        super().__init__(message)


@dataclass(slots=True)
class Positions:
    """Offsets of keys and values by path, and the keys given twice in one object."""

    values: dict[KeyPath, int] = field(default_factory=dict)
    keys: dict[KeyPath, int] = field(default_factory=dict)
    duplicates: list[KeyPath] = field(default_factory=list)


def scan(text: str) -> Positions:
    """Record the positions in the whole text; raise SpecSyntaxError at the first mistake."""
    scanner = _Scanner(text)
    scanner.scan_value(())
    scanner.expect_end()
    return scanner.positions


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        self.positions = Positions()

    def scan_value(self, path: KeyPath) -> None:
        self.skip_whitespace(path)
        self.positions.values[path] = self.offset
        if len(path) > MAX_DEPTH:
            self.fail(f"cannot be nested deeper than {MAX_DEPTH} levels", path)
        match self.text[self.offset : self.offset + 1]:
            case "{":
                self.scan_members(path)
            case "[":
                self.scan_items(path)
            case '"' | "'":
                self.scan_string(path)
            case _:
                self.scan_word(path)

    def scan_members(self, path: KeyPath) -> None:
        opened, self.offset = self.offset, self.offset + 1
        while not self.accept_closing("}", path):
            start = self.offset
            child = (*path, self.scan_key(path))
            if child in self.positions.keys:
                self.positions.duplicates.append(child)
            self.positions.keys[child] = start
            self.expect(":", child, "after the key")
            self.scan_value(child)
            self.scan_separator("}", child, opened)

    def scan_items(self, path: KeyPath) -> None:
        opened, self.offset = self.offset, self.offset + 1
        index = 0
        while not self.accept_closing("]", path):
            self.scan_value((*path, index))
            self.scan_separator("]", (*path, index), opened)
            index += 1

    def scan_key(self, path: KeyPath) -> str:
        if self.text[self.offset] in "\"'":
            return _decode_string(self.scan_string(path))
        match = _WORD.match(self.text, self.offset)
        if match and _IDENTIFIER.fullmatch(match[0]) and not match[0][0].isdigit():
            self.offset = match.end()
            return _decode_string(f'"{match[0]}"')
        self.fail(f'expected a key or "}}", found {self.describe_next()}', path)

    def scan_string(self, path: KeyPath) -> str:
        match = _STRING.match(self.text, self.offset)
        if match is None:
            self.fail(
                f"the string that begins here is not closed in its line; end it with {self.text[self.offset]}", path
            )
        bad = _BAD_ESCAPE.search(match[0].replace("\\\\", "__"))
        if bad:
            self.offset += bad.start()
            self.fail(f"a string cannot contain {bad[0]!a} here; for a backslash write two", path)
        self.offset = match.end()
        return match[0]

    def scan_word(self, path: KeyPath) -> None:
        match = _WORD.match(self.text, self.offset)
        if match is None:
            self.fail(f"expected a value, found {self.describe_next()}", path)
        if match[0] not in ("true", "false", "null"):
            self.check_number(match[0], path)
        self.offset = match.end()

    def check_number(self, text: str, path: KeyPath) -> None:
        if not _NUMBER.fullmatch(text):
            self.fail(f"expected a value, found {self.describe_next()}; put strings in quotes", path)
        exponent = _EXPONENT.match(text)
        if text.endswith(("Infinity", "NaN")):
            self.fail(f"expected a finite number, found {self.describe_next()}", path)
        if len(text) > MAX_NUMBER_CHARS or (exponent and math.isinf(float(text))):
            self.fail(f"this number is too large: {self.describe_next()}", path)

    def scan_separator(self, closing: str, path: KeyPath, opened_at: int) -> None:
        self.skip_whitespace(path)
        if self.text[self.offset : self.offset + 1] == ",":
            self.offset += 1
        elif self.offset >= len(self.text):
            self.fail_unclosed(closing, path, opened_at)
        elif self.text[self.offset] != closing:
            self.fail(f'expected "," or "{closing}" after the value, found {self.describe_next()}', path)

    def accept_closing(self, closing: str, path: KeyPath) -> bool:
        self.skip_whitespace(path)
        if self.offset >= len(self.text):
            self.fail(f'expected "{closing}", found the end of the text', path)
        if self.text[self.offset] == closing:
            self.offset += 1
            return True
        return False

    def fail_unclosed(self, closing: str, path: KeyPath, opened_at: int) -> None:
        line = self.text.count("\n", 0, opened_at) + 1
        self.fail(
            f'expected "," or "{closing}", found the end; "{self.text[opened_at]}" of line {line} is not closed',
            path,
        )

    def expect(self, wanted: str, path: KeyPath, where: str) -> None:
        self.skip_whitespace(path)
        if self.text[self.offset : self.offset + 1] != wanted:
            self.fail(f'expected "{wanted}" {where}, found {self.describe_next()}', path)
        self.offset += 1

    def expect_end(self) -> None:
        self.skip_whitespace(())
        if self.offset < len(self.text):
            hint = "; put the whole text in braces: {...}" if self.text[self.offset] in ":," else ""
            self.fail(f"expected the end of the text, found {self.describe_next()}{hint}", ())

    def skip_whitespace(self, path: KeyPath) -> None:
        match = _WHITESPACE_OR_COMMENTS.match(self.text, self.offset)
        if match:
            self.offset = match.end()
        if self.text.startswith("/*", self.offset):
            self.fail("this comment is not closed; end it with */", path)

    def describe_next(self) -> str:
        if self.offset >= len(self.text):
            return "the end of the text"
        match = _STRING.match(self.text, self.offset) or _WORD.match(self.text, self.offset)
        text = match[0] if match else self.text[self.offset]
        excerpt = text if len(text) <= 40 else f"{text[:37]}..."
        return excerpt if excerpt[0] in "\"'" else f'"{excerpt}"'

    def fail(self, message: str, path: KeyPath) -> NoReturn:
        raise SpecSyntaxError(message, self.offset, path)


def _decode_string(quoted: str) -> str:
    return str(pyjson5.decode(quoted)) if "\\" in quoted else quoted[1:-1]
