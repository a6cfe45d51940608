"""Run Go's regular expressions (RE2) with Python's `re`.

RE2 never backtracks, but `re` does. Therefore a pattern that could take exponential or very long polynomial time is
refused, and so is syntax that only one of the two understands. All other patterns mean the same in both.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

from autopilot.errors import AutopilotError

_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_PIECE = re.compile(
    r"""(?P<class>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])
    |(?P<literal>\\Q.*?(?:\\E|$))
    |(?P<escape>\\(?:x\{[0-9a-fA-F]{1,6}\}|x[0-9a-fA-F]{2}|[0-7]{3}|.))
    |(?P<group>\((?:\?(?:P?<\w+>|[ims]*(?:-[ims]+)?[:)]|[^)]{0,3}))?)
    |(?P<close>\))
    |(?P<repeat>(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??)
    |(?P<other>.)""",
    re.X | re.S,
)
_GROUP = re.compile(r"\((?:\?(?:P?<[A-Za-z_]\w*>|[is]*:))?")
_FLAGS = re.compile(r"\(\?[ims]+\)")
_ESCAPES = {"z": r"\Z", "s": r"[\t\n\f\r ]", "S": r"[^\t\n\f\r ]", "a": r"\a"}
_UNCHANGED_ESCAPES = set("AbBdDwWtnrfv")
_MAX_STEPS = 100_000_000  # of backtracking in the worst case; about a second
_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})", re.A)


class PatternError(AutopilotError):
    """A pattern that is wrong or would be too slow."""


def replace_all(pattern: str, replacement: str, text: str) -> str:
    """Replace every match, as Go's ReplaceAllString does.

    Args:
        pattern: The pattern in RE2's syntax.
        replacement: The text for each match; `$1` and `${name}` are its groups.
        text: The text to search.

    Raises:
        PatternError: The pattern is refused, or the result would be longer than 1 MiB.
    """
    compiled, repeats, choices = _compile_pattern(pattern)
    if estimate_steps(pattern, text) > _MAX_STEPS:
        complexity = f"{repeats + choices} repeats and choices"
        raise PatternError(f"a text of {len(text)} characters is too long for a pattern with {complexity}")
    parts: list[str] = []
    end, length = 0, 0
    for match in compiled.finditer(text):
        if match.end() == match.start() == end and match.start() > 0 and parts:
            continue  # as in Go, no empty match right after a match
        parts += [text[end : match.start()], _expand_references(replacement, match)]
        length += len(parts[-1])
        if length > 1 << 20:
            raise PatternError("the result would be too long")
        end = match.end()
    return "".join([*parts, text[end:]])


def estimate_steps(pattern: str, text: str) -> int:
    """Return the steps that matching may take in the worst case."""
    _, repeats, choices = _compile_pattern(pattern)
    return int(len(text) ** (repeats + 1) * 2**choices)


def _expand_references(replacement: str, match: re.Match[str]) -> str:
    groups = match.groupdict()

    def expand_reference(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        if name.isdigit():
            return (match[int(name)] or "") if len(name) < 4 and int(name) <= len(match.groups()) else ""
        return groups.get(name) or ""

    return _REFERENCE.sub(expand_reference, replacement)


@lru_cache(maxsize=16)
def _compile_pattern(pattern: str) -> tuple[re.Pattern[str], int, int]:
    """Return the pattern for `re`, and the numbers of its repeats and of its choices (`|`, `?`)."""
    if len(pattern) > 1000:
        raise PatternError("a pattern has at most 1000 characters")
    try:
        translated, repeats, choices = _translate_pattern(pattern)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sets that a later Python may read in another way than Go
            return re.compile(translated, re.A), repeats, choices
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(f"the pattern {pattern!a} is wrong: {error}") from None


def _translate_pattern(pattern: str) -> tuple[str, int, int]:
    parts: list[str] = []
    repeats = choices = 0
    open_groups = [False]  # for each open group, True when a part of it repeats or chooses
    closed = False  # True when the previous piece is such a group
    flags = _FLAGS.match(pattern)
    multiline = flags is not None and "m" in flags[0]
    before = ""
    for match in _PIECE.finditer(pattern):
        kind, piece = str(match.lastgroup), match[0]
        if kind == before == "repeat":
            raise PatternError(
                f"the pattern {pattern!a} repeats a repeat; put the inner one in a group or leave it out"
            )
        before = kind
        was_risky, closed = closed, False
        if kind == "group" and not _FLAGS.fullmatch(piece):
            open_groups.append(False)
        elif kind == "close" and len(open_groups) > 1:
            closed = open_groups.pop()
            open_groups[-1] |= closed
        elif kind == "repeat" and piece.rstrip("?"):
            if was_risky:
                raise PatternError(
                    f"the pattern {pattern!a} repeats a group that repeats or chooses itself: it may never end"
                )
            repeats += 1
            open_groups[-1] = True
        elif kind == "repeat" or piece == "|":
            choices += 1
            open_groups[-1] = True
        if piece == "$" and not multiline:
            parts.append(r"\Z")
        else:
            parts.append(_translate_piece(kind, piece, pattern, first=match.start() == 0))
    return "".join(parts), repeats, choices


def _translate_piece(kind: str, piece: str, pattern: str, *, first: bool) -> str:
    match kind:
        case "class":
            return re.sub(r"\[:(\^?)(\w+):\]", lambda m: _get_posix_class(m[1], m[2], pattern), piece)
        case "literal":
            return re.escape(piece[2:].removesuffix(r"\E"))
        case "escape":
            return _translate_escape(piece, pattern)
        case "group":
            if not _GROUP.fullmatch(piece) and not (first and _FLAGS.fullmatch(piece)):
                raise PatternError(f"the pattern {pattern!a} uses {piece!a}, which is not supported")
            return piece.replace("(?<", "(?P<")
    return re.escape(piece) if piece in "{}" else piece


def _get_posix_class(negated: str, name: str, pattern: str) -> str:
    if negated or name not in _POSIX_CLASSES:
        raise PatternError(f"the pattern {pattern!a} uses [:{negated}{name}:], which is not supported")
    return _POSIX_CLASSES[name]


def _translate_escape(piece: str, pattern: str) -> str:
    letter = piece[1]
    if piece.startswith(r"\x{"):
        code = int(piece[3:-1], 16)
        return re.escape(chr(code)) if code <= 0x10FFFF else piece
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isalnum() and letter not in _UNCHANGED_ESCAPES and not re.fullmatch(r"\\(x..|[0-7]{3})", piece):
        raise PatternError(f"the pattern {pattern!a} uses {piece!a}, which is not supported")
    return piece
