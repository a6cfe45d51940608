"""Collect the wheels of this project and of all its dependencies, for a given Python, outside the repository.

With them an image is built and a host set up without any package index.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from lab.cache import compute_cache_key, get_or_build
from lab.lab_errors import LabError

REPO = Path(__file__).parents[1]
PIP_COMMAND = (sys.executable, "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check")


def list_dependencies() -> list[str]:
    """Return the supervisor's requirements at run time."""
    return sorted(tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["dependencies"])


def download_wheels(python: str) -> Path:
    """Return a folder with the wheels of all dependencies, and of pip, for a Python version such as `3.13`."""
    needs = [*list_dependencies(), "pip"]

    def build(part: Path) -> None:
        run_pip("download", "--dest", str(part), "--python-version", python, "--only-binary=:all:", *needs)

    return get_or_build(f"wheels-{python}-{compute_cache_key(python, needs)}", build)


def build_project_wheel(target: Path) -> Path:
    """Build this checkout's wheel into `target`, from a copy: a build leaves files beside the sources."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("pyproject.toml", "README.md"):
            if (REPO / name).exists():
                shutil.copy(REPO / name, copy)
        shutil.copytree(REPO / "autopilot", copy / "autopilot", ignore=shutil.ignore_patterns("__pycache__"))
        run_pip("wheel", "--no-deps", "--wheel-dir", str(target), str(copy))
    return next(target.glob("condor_autopilot-*.whl"))


def fill_wheelhouse(target: Path, python: str) -> None:
    """Put all wheels into a folder: those of the dependencies and this project's own."""
    target.mkdir(parents=True, exist_ok=True)
    for wheel in target.glob("*.whl"):
        wheel.unlink()
    shutil.copytree(download_wheels(python), target, dirs_exist_ok=True)
    build_project_wheel(target)


def install_wheels(target: Path, python: str, wheels: Path) -> None:
    """Unpack a whole wheelhouse into a folder, for another Python than the running one."""
    files = [str(wheel) for wheel in wheels.glob("*.whl")]
    options = ["--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore", "--only-binary=:all:"]
    run_pip("install", *options, "--python-version", python, "--target", str(target), *files)


def run_pip(*words: str) -> None:
    """Run one command of pip.

    Raises:
        LabError: it failed; the message has its output.
    """
    done = subprocess.run(
        [*PIP_COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"pip {words[0]} failed: {done.stdout.strip()[-2000:]}")
