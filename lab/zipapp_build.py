"""Build one file for any host with Python 3.11 or newer: a zipapp of the watchdog and its pure-Python dependencies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipapp
from pathlib import Path

from lab.lab_errors import LabError
from lab.wheelhouse import REPO

# The dependencies in watchdog/pyproject.toml. All are pure Python, else one file could not serve all hosts.
LIBRARIES = ("click", "json-source-map", "prometheus-client")


def build_zipapp(target: Path) -> None:
    """Build the zipapp at `target`.

    Raises:
        LabError: the dependencies cannot be fetched.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", folder,
             "--no-compile", "--only-binary=:all:", "--platform=any", "--implementation=py", "--no-deps", *LIBRARIES],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise LabError(f"cannot fetch the libraries of {target.name}: {done.stderr.strip()[-500:]}")
        shutil.rmtree(tree / "bin", ignore_errors=True)
        shutil.copytree(
            REPO / "watchdog/autopilot_watchdog",
            tree / "autopilot_watchdog",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.")
        os.close(descriptor)
        zipapp.create_archive(
            tree, new, interpreter="/usr/bin/env python3", main="autopilot_watchdog.__main__:main", compressed=True
        )
        os.chmod(new, 0o755)
        os.replace(new, target)  # another build, or an install, may read the target meanwhile
