"""Install the supervisors as their users do: from Debian, or from wheels in an environment outside the project tree."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from lab import system_packages
from lab.cache import get_cache_folder, hold_lock
from lab.lab_errors import LabError
from lab.wheelhouse import build_project_wheel

# with that variable pip leaves byte code out, and every start would compile again
PIP_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def ensure_debian_program(program: str, package: str) -> str:
    """Return the path of a program, installing its Debian package if needed.

    Raises:
        LabError: it cannot be installed.
    """
    if not shutil.which(program):
        system_packages.install(package)
    path = shutil.which(program)
    if path is None:
        raise LabError(f"Debian's {package} has no {program}")
    return path


def get_debian_version(package: str) -> str:
    """Return the installed version of a Debian package."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "of unknown version"


def install_from_pypi(package: str) -> Path:
    """Return the bin directory of an environment with the newest release of a package.

    Raises:
        LabError: it cannot be installed.
    """
    return _create_environment(package, [package])


def install_autopilot() -> Path:
    """Return the bin directory of an environment with this checkout's own wheel.

    Raises:
        LabError: it cannot be built or installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_project_wheel(Path(folder))
        binaries = _create_environment("condor-autopilot", [str(wheel)])
        _run_pip(binaries, "install", "--force-reinstall", "--no-deps", str(wheel))  # same version, changed sources
    return binaries


def get_package_version(binaries: Path, package: str) -> str:
    """Return the version of a package in the environment with this bin directory."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([binaries / "python", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _create_environment(name: str, needs: list[str]) -> Path:
    if importlib.util.find_spec("ensurepip") is None:
        system_packages.install("python3-venv")
    folder = get_cache_folder() / f"benchmarks-{name}-{sys.version_info.major}.{sys.version_info.minor}"
    binaries = folder / "bin"
    with hold_lock(folder.name):
        if not (folder / "whole").exists():
            venv.create(folder, with_pip=True, clear=True)
            _run_pip(binaries, "install", "--upgrade", "pip")  # start scripts of older ones import `re`: 5 ms
            _run_pip(binaries, "install", *needs)
            (folder / "whole").touch()
    return binaries


def _run_pip(binaries: Path, *words: str) -> None:
    command = [str(binaries / "python"), "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=PIP_ENVIRONMENT
    )
    if done.returncode != 0:
        raise LabError(f"pip {words[0]} failed: {done.stdout.strip()[-300:]}")
