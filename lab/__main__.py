"""Run one of the lab's commands: `python3 -m lab VERB`. Each imports only its own part; `venv` needs nothing else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.cache import discard, get_cache_folder
from lab.lab_errors import LabError

TREE_PYTHON_VERSION = "3.13"


def create_venv(folder: Path) -> None:
    """Create the project's virtual environment in `folder`."""
    from lab.virtual_environment import make_venv

    make_venv(folder)


def list_parts() -> None:
    """Print every real part with `yes`, or the reason this machine cannot have it."""
    from lab import real_parts as known

    for part in known.PARTS:
        print(f"{part:12} {known.explain_unavailable(part) or 'yes'}")


def collect_wheels(folder: Path) -> None:
    """Put all wheels for the worker image into `folder`."""
    from lab.wheelhouse import fill_wheelhouse

    fill_wheelhouse(folder, TREE_PYTHON_VERSION)


def build_pyz(target: Path) -> None:
    """Pack the watchdog into the single file `target`."""
    from lab.zipapp_build import build_zipapp

    build_zipapp(target)


def write_diagrams(target: Path) -> None:
    """Draw the state machines from their tables into the Markdown file `target`."""
    from lab.state_diagrams import write_document

    write_document(target)


def clean_cache() -> None:
    """Remove everything the lab has built and kept."""
    for entry in get_cache_folder().iterdir():
        discard(entry)


def main() -> int:
    """Run the verb of the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("venv", help="create the project's virtual environment")
    verb.add_argument("folder", type=Path)
    verb.set_defaults(call=create_venv)
    verb = verbs.add_parser("parts", help="list the real parts this machine can have, and why not the others")
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
    verb = verbs.add_parser("clean", help="remove everything the lab has built and kept")
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
