"""Escape text for HTML, JavaScript and URLs as Go does."""

from __future__ import annotations

from urllib.parse import quote_plus

_HTML = str.maketrans({'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"})
_JAVASCRIPT = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def escape_html(text: str) -> str:
    """Return text for an HTML document."""
    return text.translate(_HTML)


def escape_javascript(text: str) -> str:
    """Return text for a string of JavaScript."""
    return "".join(_JAVASCRIPT.get(c) or (c if c.isprintable() else f"\\u{ord(c):04X}") for c in text)


def escape_url_query(text: str) -> str:
    """Return text for the query of a URL."""
    return quote_plus(text, errors="surrogateescape").replace("/", "%2F")
