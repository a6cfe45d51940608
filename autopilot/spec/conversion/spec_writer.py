"""Write a job spec as JSON5 with comments, for people to read on."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autopilot.spec.conversion.template_holes import BareAction, ControlAction, Holes

_WIDTH = 110
_INDENT = "  "
_MAX_KEYS_ON_ONE_LINE = 6
_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


@dataclass(frozen=True, slots=True)
class Commented:
    """A value with comments before it.

    Attributes:
        value: The value of a key, or an item of an array.
        comments: One sentence each.
        spread: True to write each key of an object on its own line.
    """

    value: Any
    comments: Sequence[str] = field(default=())
    spread: bool = False


class SpecWriter:
    """Writes values as JSON5; strings with holes get their template actions back."""

    def __init__(self, holes: Holes) -> None:
        self._holes = holes

    def write(self, root: Mapping[str, Any], comments: Sequence[str], prologue: Sequence[str] = ()) -> str:
        """Return the text of a job spec.

        Args:
            root: The keys of the job spec.
            comments: Sentences for the head of the file.
            prologue: Template actions that stand before the job spec.
        """
        lines = [line for comment in comments for line in self._format_comment(comment, "")]
        lines += [*prologue, "{"]
        lines += self._format_members(root, _INDENT)
        return "\n".join([*lines, "}", ""])

    def _format_members(self, members: Mapping[str, Any], indent: str) -> list[str]:
        lines: list[str] = []
        for key, value in members.items():
            name = key if _KEY.fullmatch(key) else self._format_string(key)
            lines += self._format_entry(f"{name}: ", value, indent)
        return lines

    def _format_items(self, items: Sequence[Any], indent: str) -> list[str]:
        lines: list[str] = []
        for item in items:
            lines += (
                [f"{indent}{item.text}"] if isinstance(item, ControlAction) else self._format_entry("", item, indent)
            )
        return lines

    def _format_entry(self, prefix: str, value: Any, indent: str) -> list[str]:
        comments: Sequence[str] = ()
        spread = False
        if isinstance(value, Commented):
            comments, spread, value = value.comments, value.spread, value.value
        lines = [line for comment in comments for line in self._format_comment(comment, indent)]
        inline = None if spread else self._format_inline(value)
        is_object = isinstance(value, dict)
        if inline is None or ((is_object or isinstance(value, list)) and len(indent + prefix + inline) >= _WIDTH):
            if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
                return [*lines, f"{indent}{prefix}[", *self._fill_lines(value, indent + _INDENT), f"{indent}],"]
            opening, closing = "{}" if is_object else "[]"
            inner = self._format_members if is_object else self._format_items
            return [*lines, f"{indent}{prefix}{opening}", *inner(value, indent + _INDENT), f"{indent}{closing},"]
        return [*lines, f"{indent}{prefix}{inline},"]

    def _fill_lines(self, items: Sequence[Any], indent: str) -> list[str]:
        """Return words as lines that are filled up to the width."""
        lines: list[str] = []
        for item in items:
            word = f"{self._format_inline(item)},"
            if lines and len(lines[-1]) + 1 + len(word) <= _WIDTH:
                lines[-1] += f" {word}"
            else:
                lines.append(f"{indent}{word}")
        return lines

    def _format_inline(self, value: Any) -> str | None:
        """Return a value on one line; None when it holds comments or too much."""
        if isinstance(value, dict):
            return self._format_inline_object(value)
        if isinstance(value, list):
            return None if any(isinstance(item, Commented) for item in value) else self._format_inline_list(value)
        if isinstance(value, BareAction):
            return value.text
        if isinstance(value, str):
            return self._format_string(value)
        return None if isinstance(value, Commented) else json.dumps(value)

    def _format_inline_object(self, value: Mapping[str, Any]) -> str | None:
        members = [(key, self._format_inline(item)) for key, item in value.items()]
        if len(members) > _MAX_KEYS_ON_ONE_LINE or any(text is None for _, text in members):
            return None
        names = [key if _KEY.fullmatch(key) else self._format_string(key) for key, _ in members]
        return "{" + ", ".join(f"{name}: {text}" for name, (_, text) in zip(names, members, strict=True)) + "}"

    def _format_inline_list(self, items: Sequence[Any]) -> str | None:
        text = ""
        for position, item in enumerate(items):
            if isinstance(item, ControlAction):
                text += f"{item.text} "
                continue
            inline = self._format_inline(item)
            if inline is None:
                return None
            is_last = position == len(items) - 1
            text += inline if is_last else f"{inline}, "
        return f"[{text.rstrip()}]"

    def _format_string(self, text: str) -> str:
        quoted = ""
        parts = list(self._holes.split(text))
        for position, (part, is_action) in enumerate(parts):
            if is_action:
                quoted += part
                continue
            literal = json.dumps(part, ensure_ascii=False)[1:-1].replace("{{", '{{ "{{" }}')
            if literal.endswith("{") and position + 1 < len(parts):  # would join the braces of the action
                literal = literal[:-1] + '{{ "{" }}'
            quoted += literal
        if len(parts) == 1 and '"' in text and "'" not in text and "\\" not in quoted.replace('\\"', ""):
            return "'" + quoted.replace('\\"', '"') + "'"
        return f'"{quoted}"'

    def _format_comment(self, comment: str, indent: str) -> list[str]:
        """Return the lines of a comment; a template action in it would be rendered, so its braces are set apart."""
        text = " ".join(self._holes.restore(comment).split())
        while "{{" in text:
            text = text.replace("{{", "{ {")
        text = "".join(character if character.isprintable() else "?" for character in text)
        lines = textwrap.wrap(text, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
        return [f"{indent}// {line}" for line in lines]
