"""Cut texts to the length that a record has room for."""

from __future__ import annotations

MAX_SENTENCE_CHARS = 4000  # of a sentence in a record
MAX_FIELD_CHARS = 500  # of any other field of a record; Consul takes 512 bytes of metadata


def clip_text(text: str, limit_chars: int = MAX_FIELD_CHARS) -> str:
    """Return a text with at most `limit_chars` characters; a longer one ends in `...`."""
    return text if len(text) <= limit_chars else f"{text[: limit_chars - 3]}..."
