"""`python3 -m lab VERB`: the lab's own commands. Each loads only what it needs: `venv` runs on a bare machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.cache import cache, discard
from lab.errors import LabError

TREE_PYTHON = "3.13"


def venv(folder: Path) -> None:
    from lab.venv import make_venv

    make_venv(folder)


def parts() -> None:
    from lab import parts as known

    for part in known.PARTS:
        print(f"{part:12} {known.reason(part) or 'yes'}")


def wheelhouse(folder: Path) -> None:
    from lab.wheelhouse import fill

    fill(folder, TREE_PYTHON)


def pyz(target: Path) -> None:
    from lab.pyz import make

    make(target)


def clean() -> None:
    for entry in cache().iterdir():
        discard(entry)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("venv", help="make the project's virtual environment")
    verb.add_argument("folder", type=Path)
    verb.set_defaults(call=venv)
    verb = verbs.add_parser("parts", help="which real parts this machine can have, and why not")
    verb.set_defaults(call=parts)
    verb = verbs.add_parser("wheelhouse", help="put all wheels for the worker image into a folder")
    verb.add_argument("folder", type=Path)
    verb.set_defaults(call=wheelhouse)
    verb = verbs.add_parser("pyz", help="pack the watchdog into one file")
    verb.add_argument("target", type=Path)
    verb.set_defaults(call=pyz)
    verb = verbs.add_parser("clean", help="remove what the lab has built and kept")
    verb.set_defaults(call=clean)
    arguments = vars(parser.parse_args())
    call = arguments.pop("call")
    try:
        call(**arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
