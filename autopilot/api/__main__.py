"""Write the documents of the HTTP interface: `python -m autopilot.api DIRECTORY` (`make api-docs`)."""

from __future__ import annotations

import sys
from pathlib import Path

from autopilot.api.documents import build_documents


def main(arguments: list[str]) -> None:
    """Write every generated document into the directory that the one argument names."""
    if len(arguments) != 1:
        sys.exit("usage: python -m autopilot.api DIRECTORY")
    for name, text in build_documents().items():
        (Path(arguments[0]) / name).write_text(text, encoding="utf-8")


main(sys.argv[1:])
