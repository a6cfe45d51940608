"""Fill placeholders such as {host} and {slot} into texts of the configuration; {{word}} is the text {word}.

In names, NN standing alone is the number, too. ${word} belongs to a shell and is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

NAME_PLACEHOLDERS = ("host", "index", "number")  # of a slot's name; the index counts from 0
SLOT_PLACEHOLDERS = (*NAME_PLACEHOLDERS, "slot")
IMAGE_PLACEHOLDERS = ("digest", "image")  # of `verify`
PREFLIGHT_PLACEHOLDERS = (*IMAGE_PLACEHOLDERS, "host")
EVENT_PLACEHOLDERS = ("event", "host")  # of `notify`
_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}|(?<!\$)\{([a-z_]+)\}")
_NUMBER_WORD = re.compile(r"(?<![A-Za-z0-9])NN(?![A-Za-z0-9])")


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its placeholders filled in; unknown ones stay."""
    if "{" not in text:
        return text
    return _PLACEHOLDER.sub(lambda found: f"{{{found[1]}}}" if found[1] else values.get(found[2], found[0]), text)


def expand_number_words(pattern: str) -> str:
    """Return a pattern of names with {number} for each NN that is no part of a word."""
    return _NUMBER_WORD.sub("{number}", pattern)


def find_unknown_placeholders(text: str, known: Collection[str]) -> Iterator[str]:
    """Yield the names of the placeholders that nothing fills in."""
    for found in _PLACEHOLDER.finditer(text):
        if found[2] and found[2] not in known:
            yield found[2]
