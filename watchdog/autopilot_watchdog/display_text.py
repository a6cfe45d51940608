"""Make text that others wrote safe for a terminal, the journal and the audit log: visible and bounded."""

from __future__ import annotations

import re

from autopilot_watchdog.bounded_json import clip_text

MAX_SENTENCE_CHARS = 4000  # of an entry's sentence; it may hold the last lines of a container
MAX_FIELD_CHARS = 1000  # of any other field of an entry
# control characters, marks that change the direction of text, line separators, lone surrogates
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def show_controls(text: str) -> str:
    r"""Return a text on one line, with each character that a terminal would obey or hide shown as \x1b or \u202e."""
    return _HIDDEN.sub(lambda found: _escape(found[0]), text)


def show_lines(text: str) -> list[str]:
    """Return the lines of a text, each safe to show; at least one."""
    return [show_controls(line.removesuffix("\r")) for line in text.split("\n")]


def bound_field(value: object) -> object:
    """Return a value of an audit entry in bounded size: texts are cut, other values are plain or become text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return clip_text(value if isinstance(value, str) else str(value), MAX_FIELD_CHARS)


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT_ESCAPES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
