"""The template step: from the text as written to the text that is parsed, and the way back for positions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass


class TemplateError(Exception):
    """The template cannot be rendered. `offset` is where in the text."""

    def __init__(self, message: str, offset: int) -> None:
        self.offset = offset
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of rendered text: copied from the template, or made by the action that stands there."""

    start: int  # in the rendered text
    origin: int  # in the template
    generated: bool


@dataclass(frozen=True, slots=True)
class RenderedTemplate:
    template: str
    text: str
    pieces: tuple[Piece, ...]

    def find_origin(self, offset: int) -> tuple[int, bool]:
        """Where in the template a place of the rendered text comes from, and whether an action made it."""
        at = bisect_right(self.pieces, offset, key=lambda piece: piece.start) - 1
        if at < 0:
            return 0, bool(self.pieces)
        piece = self.pieces[at]
        return (piece.origin, True) if piece.generated else (piece.origin + offset - piece.start, False)


def render_template(template: str, env: Mapping[str, str]) -> RenderedTemplate:
    """Render over the environment. Text without `{{` is its own rendering and never loads the engine."""
    if "{{" not in template:
        return RenderedTemplate(template, template, (Piece(0, 0, generated=False),))
    from autopilot.spec.gotemplate import render

    return render(template, env)
