"""The supervisors as their users have them: from Debian, or from wheels in an environment outside the project tree."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from lab import packages
from lab.cache import cache, locked
from lab.errors import LabError
from lab.wheelhouse import project_wheel

# without these pip leaves byte code out, and every start would compile again
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def debian(program: str, package: str) -> str:
    """The program's path. Raises LabError."""
    if not shutil.which(program):
        packages.install(package)
    found = shutil.which(program)
    if found is None:
        raise LabError(f"Debian's {package} has no {program}")
    return found


def debian_version(package: str) -> str:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "of unknown version"


def pypi(package: str) -> Path:
    """The bin directory of an environment that has the newest release. Raises LabError."""
    return _environment(package, [package])


def autopilot() -> Path:
    """The bin directory of an environment that has this checkout's own wheel. Raises LabError."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = project_wheel(Path(folder))
        binaries = _environment("condor-autopilot", [str(wheel)])
        _pip(binaries, "install", "--force-reinstall", "--no-deps", str(wheel))  # the same version, other sources
    return binaries


def version(binaries: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([binaries / "python", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _environment(name: str, needs: list[str]) -> Path:
    if importlib.util.find_spec("ensurepip") is None:
        packages.install("python3-venv")
    folder = cache() / f"benchmarks-{name}-{sys.version_info.major}.{sys.version_info.minor}"
    binaries = folder / "bin"
    with locked(folder.name):
        if not (folder / "whole").exists():
            venv.create(folder, with_pip=True, clear=True)
            _pip(binaries, "install", "--upgrade", "pip")  # older ones write start scripts that load `re` first: 5 ms
            _pip(binaries, "install", *needs)
            (folder / "whole").touch()
    return binaries


def _pip(binaries: Path, *words: str) -> None:
    command = [str(binaries / "python"), "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=ENVIRONMENT
    )
    if done.returncode != 0:
        raise LabError(f"pip {words[0]} failed: {done.stdout.strip()[-300:]}")
