"""Read the small files of /proc and /sys, which a container may not have."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file; "" when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
