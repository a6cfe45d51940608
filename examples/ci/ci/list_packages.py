"""Print the Debian and Python packages of the container in which this runs, as JSON."""

from __future__ import annotations

import json
import subprocess
import sys

ENVIRONMENT_PYTHON = "/usr/lib/condor-autopilot/bin/python"
LIST_DISTRIBUTIONS = """
import importlib.metadata
for found in importlib.metadata.distributions():
    print("pypi", found.metadata["Name"], found.version, "", sep="\\t")
"""


def list_packages() -> list[dict[str, str]]:
    """Return the packages, sorted: type (`deb` or `pypi`), name, version, architecture."""
    form = "deb\\t${Package}\\t${Version}\\t${Architecture}\\n"
    commands = [["dpkg-query", "--show", f"--showformat={form}"], [ENVIRONMENT_PYTHON, "-c", LIST_DISTRIBUTIONS]]
    lines = {
        line
        for command in commands
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    }
    return [
        dict(zip(("type", "name", "version", "architecture"), line.split("\t"), strict=True)) for line in sorted(lines)
    ]


json.dump(list_packages(), sys.stdout)
