"""Split a template into tokens: runs of text, and the parts of actions.

Spaces in actions are dropped, but every token records if it touches the previous one: `.A.B` is one operand, `.A .B`
are two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from autopilot.spec.gotemplate.rendered_template import TemplateError

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<char>'(?:[^'\\\n]|\\[^\n])+')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?))
    |(?P<variable>\$\w*)
    |(?P<field>\.[^\W\d]\w*)
    |(?P<dot>\.)
    |(?P<word>[^\W\d]\w*)
    |(?P<declare>:=)
    |(?P<punctuation>[=,|()])""",
    re.X,
)
_COMMENT_END = re.compile(r"\*/(?P<trim>[ \t\r\n]+-)?\}\}")
_ACTION_END = re.compile(r"(?P<trim>[ \t\r\n]+-)?\}\}")
_NEEDS_TERMINATOR = {"number", "variable", "field", "word"}
_TERMINATORS = set(" \t\r\n.,|:()")
_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Token:
    """A token, at its offset in the template."""

    kind: str  # text, open, close, end, or the name of a group in _TOKEN
    value: str
    offset: int
    touches_previous: bool = False  # no space before it


def list_tokens(template: str) -> list[Token]:
    """Return all tokens and a final `end`; `{{-` and `-}}` have already trimmed the text beside them."""
    return [*_generate_tokens(template), Token("end", "", len(template))]


def _generate_tokens(template: str) -> Iterator[Token]:
    at, trim = 0, False
    while True:
        opening = template.find("{{", at)
        text_end = len(template) if opening < 0 else opening
        trims_left = (
            opening >= 0
            and template[opening + 2 : opening + 3] == "-"
            and template[opening + 3 : opening + 4] in _SPACE
        )
        yield from _emit_text(template, at, text_end, trim, trims_left and opening + 3 < len(template))
        if opening < 0:
            return
        inside = opening + (3 if trims_left and opening + 3 < len(template) else 2)
        at, trim = inside, False
        comment = inside if template.startswith("/*", inside) else _skip_space(template, inside, trims_left)
        if template.startswith("/*", comment):
            end = _COMMENT_END.search(template, comment)
            if end is None:
                _fail('cannot find the end of this comment; a comment ends with "*/}}" or "*/ -}}"', opening)
            at, trim = end.end(), bool(end["trim"])
            continue
        yield Token("open", "{{", opening)
        end = None
        while end is None:
            end = _ACTION_END.match(template, at)
            if end is None:
                token = _read_token(template, at, opening)
                at += len(token.value)
                if token.kind != "space":
                    yield token
        yield Token("close", "}}", end.start())
        at, trim = end.end(), bool(end["trim"])


def _skip_space(template: str, at: int, trims: bool) -> int:
    """Return the place of a possible comment: it may follow `{{- `, but not `{{ `."""
    while trims and at < len(template) and template[at] in _SPACE:
        at += 1
    return at


def _emit_text(template: str, start: int, end: int, trim_left: bool, trim_right: bool) -> Iterator[Token]:
    while trim_left and start < end and template[start] in _SPACE:
        start += 1
    while trim_right and start < end and template[end - 1] in _SPACE:
        end -= 1
    if start < end:
        yield Token("text", template[start:end], start)


def _read_token(template: str, at: int, opening: int) -> Token:
    match = _TOKEN.match(template, at)
    if match is None:
        _refuse(template, at, opening)
    kind = str(match.lastgroup)
    following = template[match.end() : match.end() + 1]
    if (
        kind in _NEEDS_TERMINATOR
        and following
        and following not in _TERMINATORS
        and not template.startswith("}}", match.end())
    ):
        _fail(f'cannot read "{following}" after {match[0]}; put a space between them', match.end())
    return Token(kind, match[0], at, touches_previous=template[at - 1] not in _SPACE)


def _refuse(template: str, at: int, opening: int) -> NoReturn:
    rest = template[at : at + 1]
    if not rest:
        _fail('cannot find the end of this action; it ends with "}}"', opening)
    if rest in "\"'`":
        _fail(f"cannot find the end of this string; end it with {rest}", at)
    _fail(f"cannot read {rest!a} here; an action holds names, strings, numbers, pipes and parentheses", at)


def _fail(message: str, offset: int) -> NoReturn:
    raise TemplateError(message, offset)
