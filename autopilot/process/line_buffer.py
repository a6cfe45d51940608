"""Split bytes into lines, with bounded memory: a line longer than MAX_LINE_BYTES comes in pieces, no byte is lost."""

from __future__ import annotations

MAX_LINE_BYTES = 64 * 1024
# beyond ASCII's: controls that some terminals obey, line separators, and marks that turn the direction of text around
HIDDEN_CODES = (*range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
CONTROL_ESCAPES = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in (*range(9), *range(10, 32), *HIDDEN_CODES)
}
JSON_ESCAPES = {code: f"\\u{code:04x}" for code in HIDDEN_CODES}


def escape_controls(text: str) -> str:
    """Write out control characters but tabs, so that foreign text on a terminal can neither act nor forge."""
    return text.translate(CONTROL_ESCAPES)


def escape_json(text: str) -> str:
    """Write out the control characters that JSON allows in its strings; the text stays the same JSON value."""
    return text if text.isascii() and "\x7f" not in text else text.translate(JSON_ESCAPES)


class LineSplitter:
    """A buffer for the bytes of one pipe."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes; return the lines that are complete now, without their line ends."""
        *lines, tail = (self._tail + data).split(b"\n")
        pieces = [piece for line in lines for piece in self._cut(line)]
        while len(tail) > self._max_line_bytes:
            pieces.append(tail[: self._max_line_bytes])
            tail = tail[self._max_line_bytes :]
        self._tail = tail
        return pieces

    def take_rest(self) -> list[bytes]:
        """Return the unterminated last line, if any, and forget it."""
        tail, self._tail = self._tail, b""
        return [tail] if tail else []

    def _cut(self, line: bytes) -> list[bytes]:
        if len(line) <= self._max_line_bytes:
            return [line]
        return [line[start : start + self._max_line_bytes] for start in range(0, len(line), self._max_line_bytes)]
