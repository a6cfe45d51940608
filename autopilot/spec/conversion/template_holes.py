"""Keep the actions of a Go template in a text whose other parts are parsed and written anew.

An action becomes a hole: its number between two marks, a private character that the text does not contain. A hole is
part of a string, so that parsers and converters take it as any other text. The writer puts the action back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from autopilot.errors import AutopilotError

_PRIVATE_CHARACTERS = range(0xE000, 0xF900)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_TRIM = re.compile(r"^\{\{-(?=\s)|(?<=\s)-\}\}$")


class TemplateKeepingError(AutopilotError):
    """A template whose actions cannot be kept, because they make other parts of the file than values.

    Attributes:
        reason: The sentence that tells of the action.
        offset: Index of the action in the template; None when it is not known.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        self.reason, self.offset = reason, offset
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class BareAction:
    """Actions in the place of a whole value, outside of quotes."""

    text: str


@dataclass(frozen=True, slots=True)
class ControlAction:
    """An action between the items of an array, such as `{{ if .NAME }}`."""

    text: str


class Holes:
    """The actions of one text, by their numbers."""

    def __init__(self, *texts: str) -> None:
        taken = set().union(*texts)
        escaped = {int(code, 16) for text in texts for code in _ESCAPE.findall(text)}
        self.mark = next(chr(code) for code in _PRIVATE_CHARACTERS if chr(code) not in taken and code not in escaped)
        self._hole = re.compile(f"{self.mark}([0-9]+){self.mark}")
        self._actions: list[str | BareAction | ControlAction] = []

    def __len__(self) -> int:
        return len(self._actions)

    def add(self, action: str | BareAction | ControlAction) -> str:
        """Return the hole for an action; a text is an action inside a string."""
        self._actions.append(action)
        return f"{self.mark}{len(self._actions) - 1}{self.mark}"

    def split(self, text: str) -> Iterator[tuple[str, bool]]:
        """Yield the parts of a text in order, and for each True when it is an action."""
        at = 0
        for match in self._hole.finditer(text):
            if match.start() > at:
                yield text[at : match.start()], False
            action = self._actions[int(match[1])]
            yield (action if isinstance(action, str) else action.text), True
            at = match.end()
        if at < len(text):
            yield text[at:], False

    def restore(self, text: str) -> str:
        """Return a text with its actions in place of the holes."""
        return "".join(part for part, _ in self.split(text))

    def find_value(self, text: str) -> BareAction | ControlAction | None:
        """Return the action that is a whole value or item; None for a string."""
        match = self._hole.fullmatch(text)
        action = self._actions[int(match[1])] if match else None
        return None if isinstance(action, str) else action

    def contain(self, text: str) -> bool:
        """Return True for a text with at least one hole."""
        return self._hole.search(text) is not None


def remove_trim_marks(action: str) -> str:
    """Return an action that leaves the space around it: trimming could join a comment's line with the next one."""
    return _TRIM.sub(lambda match: "{{" if match[0].startswith("{") else "}}", action)
