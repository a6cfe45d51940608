"""Split a command that is written as one string into its words.

The separators are the white space of ASCII. A no-break space or another sign of Unicode belongs to its word, as in
ContainerPilot; `str.split` would take it as a separator.
"""

from __future__ import annotations

import re

SEPARATOR = re.compile(r"[ \t\n\r\f\v]+")


def split_words(command: str) -> list[str]:
    """Return the words of a command; none of them is empty."""
    return [word for word in SEPARATOR.split(command) if word]
