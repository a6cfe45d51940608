"""Provide the pipeline of examples/ci with the packages it takes from an index, so that a run asks none."""

from __future__ import annotations

from pathlib import Path

from lab.cache import compute_cache_key, get_or_build
from lab.wheelhouse import REPO, run_pip

BINDINGS_FILE = REPO / "examples" / "ci" / "ci" / "pool" / "requirements.txt"


def download_bindings(python: str) -> Path:
    """Return a folder with the wheel of HTCondor's Python bindings, for a Python version such as `3.13`."""
    wanted = BINDINGS_FILE.read_text()

    def build(part: Path) -> None:
        options = ["--no-deps", "--only-binary=:all:", "--python-version", python]
        run_pip("download", *options, "--dest", str(part), "--requirement", str(BINDINGS_FILE))

    return get_or_build(f"bindings-{python}-{compute_cache_key(python, wanted)}", build)
