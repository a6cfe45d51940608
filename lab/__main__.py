"""`python3 -m lab VERB`: the lab's own commands. Each loads only what it needs: `venv` runs on a bare machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.cache import discard, get_cache_folder
from lab.lab_errors import LabError

TREE_PYTHON_VERSION = "3.13"


def create_venv(folder: Path) -> None:
    from lab.virtual_environment import make_venv

    make_venv(folder)


def list_parts() -> None:
    from lab import real_parts as known

    for part in known.PARTS:
        print(f"{part:12} {known.explain_unavailable(part) or 'yes'}")


def collect_wheels(folder: Path) -> None:
    from lab.wheelhouse import fill_wheelhouse

    fill_wheelhouse(folder, TREE_PYTHON_VERSION)


def build_pyz(target: Path) -> None:
    from lab.zipapp_build import build_zipapp

    build_zipapp(target)


def write_diagrams(target: Path) -> None:
    from lab.state_diagrams import write_document

    write_document(target)


def clean_cache() -> None:
    for entry in get_cache_folder().iterdir():
        discard(entry)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("venv", help="make the project's virtual environment")
    verb.add_argument("folder", type=Path)
    verb.set_defaults(call=create_venv)
    verb = verbs.add_parser("parts", help="which real parts this machine can have, and why not")
    verb.set_defaults(call=list_parts)
    verb = verbs.add_parser("wheelhouse", help="put all wheels for the worker image into a folder")
    verb.add_argument("folder", type=Path)
    verb.set_defaults(call=collect_wheels)
    verb = verbs.add_parser("pyz", help="pack the watchdog into one file")
    verb.add_argument("target", type=Path)
    verb.set_defaults(call=build_pyz)
    verb = verbs.add_parser("diagrams", help="draw the state machines from their tables into a Markdown file")
    verb.add_argument("target", type=Path)
    verb.set_defaults(call=write_diagrams)
    verb = verbs.add_parser("clean", help="remove what the lab has built and kept")
    verb.set_defaults(call=clean_cache)
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
