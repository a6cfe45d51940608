"""Replace the actions of a Go template in JSON5 by holes, so that the file can be parsed without being rendered.

An action inside a string stays in its string. Actions in the place of a value, outside of quotes, become one bare
action. Actions that choose or repeat items of an array become items of their own. Other places cannot be kept, such as
an `if` around a key: then the template has to be rendered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from autopilot.spec.conversion.template_holes import (
    BareAction,
    ControlAction,
    Holes,
    TemplateKeepingError,
    remove_trim_marks,
)
from autopilot.spec.gotemplate.lexer import Token, list_tokens
from autopilot.spec.gotemplate.rendered_template import Piece, RenderedTemplate
from autopilot.spec.template_variables import list_action_variables

_OPENING = {"if", "with", "range"}
_BETWEEN = {"else", "break", "continue"}
_UNKEPT = {"define", "block", "template"}


@dataclass(frozen=True, slots=True)
class KeptSource:
    """A template with holes in place of its actions.

    Attributes:
        source: The text with holes, and the origin of each part of it.
        holes: The actions.
        prologue: Actions that stand before the first brace.
    """

    source: RenderedTemplate
    holes: Holes
    prologue: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    """A run of text, or one action with its kind: if, else, end, ..., "assign" or "pipe"."""

    text: str
    offset: int
    kind: str = "text"


def list_variables(template: str) -> list[str]:
    """Return the names of the environment variables that the actions of a template read, in their order."""
    return list_action_variables(part.text for part in _list_parts(template) if part.kind != "text")


def keep_actions(template: str, *other_texts: str) -> KeptSource:
    """Replace the actions of a template by holes.

    Args:
        template: The file as written.
        other_texts: Texts that are written with the same holes; they have none.

    Raises:
        TemplateKeepingError: An action makes other parts of the file than values and items.
        TemplateError: The template is wrong.
    """
    return _Keeper(template, Holes(template, *other_texts)).keep()


def _list_parts(template: str) -> list[_Part]:
    parts: list[_Part] = []
    action: list[Token] = []
    for token in list_tokens(template):
        if token.kind == "text":
            parts.append(_Part(token.value, token.offset))
        elif token.kind == "close":
            end = template.index("}}", token.offset) + 2
            start = action[0].offset
            parts.append(_Part(template[start:end], start, _find_kind(action[1:])))
            action = []
        elif token.kind != "end":
            action.append(token)
    return parts


def _find_kind(tokens: list[Token]) -> str:
    first = tokens[0] if tokens else None
    if first is not None and first.kind == "word" and first.value in {*_OPENING, *_BETWEEN, *_UNKEPT, "end"}:
        return first.value
    if any(token.kind == "declare" or (token.kind == "punctuation" and token.value == "=") for token in tokens):
        return "assign"
    return "pipe"


@dataclass(slots=True)
class _Word:
    """A value outside of quotes that is being read, with its actions."""

    offset: int
    text: str = ""
    depth: int = 0
    has_action: bool = False


@dataclass(slots=True)
class _Place:
    """An open bracket of the file.

    Attributes:
        bracket: "[" or "{".
        in_value: True in an object while a value is expected instead of a key.
        blocks: Blocks of the template that are open between the items of an array.
    """

    bracket: str
    in_value: bool = False
    blocks: int = 0


@dataclass(slots=True)
class _Keeper:
    template: str
    holes: Holes
    emitted: list[str] = field(default_factory=list)
    length: int = 0
    pieces: list[Piece] = field(default_factory=list)
    places: list[_Place] = field(default_factory=list)
    quote: str = ""
    quote_depth: int = 0  # blocks of the template that are open inside the string
    comment_end: str = ""
    word: _Word | None = None
    last: str = ""  # the last character that is neither space nor inside a string
    needs_comma: bool = False  # after an action between items
    prologue: list[str] = field(default_factory=list)

    def keep(self) -> KeptSource:
        for part in _list_parts(self.template):
            if part.kind == "text":
                self.read_text(part)
            elif self.comment_end:
                continue
            elif self.quote:
                self.read_action_in_string(part)
            else:
                self.read_action(part)
        self.finish_word()
        if self.quote:
            self.fail("a string does not end in its part of the template", len(self.template) - 1)
        source = RenderedTemplate(self.template, "".join(self.emitted), tuple(self.pieces))
        return KeptSource(source, self.holes, tuple(self.prologue))

    # --- text ---

    def read_text(self, part: _Part) -> None:
        index = 0
        while index < len(part.text):
            index += self.read_character(part.text, index, part.offset + index)

    def read_character(self, text: str, index: int, offset: int) -> int:
        """Read one character, or two that belong together; return how many."""
        character, pair = text[index], text[index : index + 2]
        if self.comment_end:
            if text.startswith(self.comment_end, index):
                length, self.comment_end = len(self.comment_end), ""
                return length
            return 1
        if self.quote:
            return self.read_in_string(pair, offset)
        if self.word is not None and self.word.depth > 0:
            self.word.text += character
            return 1
        if pair in ("//", "/*"):
            self.finish_word()
            self.comment_end = "\n" if pair == "//" else "*/"
            return 2
        if character in "\"'" and self.word is None:
            self.begin_value()
            self.quote, self.last = character, character
            self.emit(character, offset)
        elif character in "{}[]:,":
            self.finish_word()
            self.read_punctuation(character, offset)
        elif character.isspace() or character == "\ufeff":
            self.finish_word()
            self.emit(character, offset)
        else:
            self.word = self.word or _Word(offset)
            self.word.text += character
        return 1

    def read_in_string(self, pair: str, offset: int) -> int:
        if pair[0] == "\\" and len(pair) == 2:
            self.emit(pair, offset)
            return 2
        if pair[0] == self.quote:
            if self.quote_depth:
                self.fail("a block of the template reaches out of a string", offset)
            self.quote = ""
        self.emit(pair[0], offset)
        return 1

    def read_punctuation(self, character: str, offset: int) -> None:
        if character == ",":
            self.needs_comma = False
        elif character in "{[":
            self.begin_value()
            self.places.append(_Place(character))
        elif character in "}]":
            self.needs_comma = False
            if self.places and self.places.pop().blocks:
                self.fail("a block of the template reaches out of an array", offset)
        if self.places and self.places[-1].bracket == "{" and character in ":,}]":
            self.places[-1].in_value = character == ":"
        self.last = character
        self.emit(character, offset)

    def begin_value(self) -> None:
        if self.needs_comma:
            self.needs_comma = False
            self.emit(",", 0, generated=True)

    def finish_word(self) -> None:
        word, self.word = self.word, None
        if word is None:
            return
        self.begin_value()
        self.last = "w"
        if word.depth:
            self.fail("a block of the template does not end with its value", word.offset)
        if word.has_action:
            self.emit_hole(BareAction(word.text), word.offset)
        else:
            self.emit(word.text, word.offset)

    # --- actions ---

    def read_action_in_string(self, part: _Part) -> None:
        if part.kind in _UNKEPT:
            self.fail(f"{part.text} cannot be kept in a string", part.offset)
        self.quote_depth += (part.kind in _OPENING) - (part.kind == "end")
        if self.quote_depth < 0 or (part.kind in _BETWEEN and self.quote_depth == 0):
            self.fail("a block of the template reaches out of a string", part.offset)
        self.emit(self.holes.add(part.text), part.offset, generated=True)

    def read_action(self, part: _Part) -> None:
        if part.kind in _UNKEPT:
            self.fail(f"{part.text} makes a part of the file", part.offset)
        if self.word is not None and self.word.depth > 0:
            self.add_to_word(part)
        elif not self.places:
            if part.kind != "assign" or self.last:
                self.fail(f"{part.text} is outside of the braces of the file", part.offset)
            self.prologue.append(remove_trim_marks(part.text))
        elif self.places[-1].bracket == "[" and part.kind != "pipe":
            self.finish_word()
            self.add_item(part)
        elif self.places[-1].bracket == "[" or self.places[-1].in_value:
            if part.kind not in (*_OPENING, "pipe"):
                self.fail(f"{part.text} is around more than a value", part.offset)
            self.word = self.word or _Word(part.offset)
            self.add_to_word(part)
        else:
            self.fail(f"{part.text} is around a key", part.offset)

    def add_to_word(self, part: _Part) -> None:
        assert self.word is not None, "the caller has begun one"
        self.word.text += remove_trim_marks(part.text)
        self.word.has_action = True
        self.word.depth += (part.kind in _OPENING) - (part.kind == "end")

    def add_item(self, part: _Part) -> None:
        place = self.places[-1]
        place.blocks += (part.kind in _OPENING) - (part.kind == "end")
        if place.blocks < 0 or (part.kind in _BETWEEN and place.blocks == 0):
            self.fail("a block of the template reaches out of an array", part.offset)
        if self.last not in ("[", ","):
            self.emit(",", part.offset, generated=True)
        self.needs_comma = False
        self.emit_hole(ControlAction(remove_trim_marks(part.text)), part.offset)
        self.last, self.needs_comma = "a", True

    # --- output ---

    def emit_hole(self, action: BareAction | ControlAction, offset: int) -> None:
        self.emit(f'"{self.holes.add(action)}"', offset, generated=True)

    def emit(self, text: str, offset: int, *, generated: bool = False) -> None:
        previous = self.pieces[-1] if self.pieces else None
        follows = (
            previous is not None
            and not generated
            and not previous.generated
            and previous.origin + self.length - previous.start == offset
        )
        if not follows:
            self.pieces.append(Piece(self.length, offset, generated))
        self.emitted.append(text)
        self.length += len(text)

    def fail(self, reason: str, offset: int) -> NoReturn:
        raise TemplateKeepingError(reason, offset)
