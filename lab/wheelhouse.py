"""Wheels of our project and all it needs, for this machine's Python and for the Debian tree's, kept outside the repository.

With them an image is built, and a host set up, without any package index.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from lab.cache import built, key

REPO = Path(__file__).parents[1]
EXTRAS = ("htcondor",)


def dependencies() -> list[str]:
    """What the supervisor needs at run time, with the batch system's bindings."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {})
    return sorted(project["dependencies"] + [need for extra in EXTRAS for need in optional.get(extra, [])])


def wheelhouse(python: str) -> Path:
    """A folder with the wheels of all dependencies for that Python version, such as `3.13`."""
    needs = dependencies()
    return built(f"wheels-{python}-{key(python, needs)}", lambda part: _download(part, python, needs))


def _download(target: Path, python: str, needs: list[str]) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(target)),
            *("--python-version", python, "--only-binary=:all:", *needs),
        ],
        check=True,
    )


def project_wheel(target: Path) -> Path:
    """Build this checkout's own wheel into `target`, from a copy: the build leaves its traces beside the sources."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "source"
        copy.mkdir()
        for name in ("pyproject.toml", "README.md"):
            if (REPO / name).exists():
                shutil.copy(REPO / name, copy)
        for package in ("autopilot",):
            shutil.copytree(REPO / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(copy)], check=True
        )
    return next(target.glob("condor_autopilot-*.whl"))
