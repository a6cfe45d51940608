"""Create the project's virtual environment, even on a machine that has nothing but Python."""

from __future__ import annotations

import importlib.util
import subprocess
import venv
from pathlib import Path

from lab import system_packages
from lab.lab_errors import LabError
from lab.wheelhouse import REPO

EXTRAS = "test,lint,otlp,pool"


def make_venv(folder: Path) -> None:
    """Create the environment in `folder` with the project, the watchdog and all extras, in editable mode.

    Raises:
        LabError: the dependencies cannot be installed.
    """
    if importlib.util.find_spec("ensurepip") is None:
        system_packages.install("python3-venv")
    print(f"creating {folder.name} (once, and after each change of pyproject.toml)", flush=True)
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check"]
    # a plain path file: the default import hook costs every start some milliseconds
    plain = ["--config-settings", "editable_mode=compat"]
    projects = ["--editable", f"{REPO}[{EXTRAS}]", "--editable", f"{REPO}/watchdog"]
    done = subprocess.run([*pip, "install", *plain, *projects], check=False)
    if done.returncode != 0:
        raise LabError("cannot install the dependencies: is a package index within reach?")
