"""The supervisor for the lab's hosts: its dependencies as a layer over the Debian tree, its code from this checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab.cache import built, key
from lab.wheelhouse import dependencies, wheelhouse

REPO = Path(__file__).parents[1]
HOME = "/usr/lib/condor-autopilot"
COMMAND = f"""\
#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "{HOME}")
from autopilot.__main__ import main
sys.exit(main())
"""


def autopilot_layer(tree: Path) -> Path:
    """A folder to lay over the tree: the dependencies for the tree's Python, and the `autopilot` command."""
    python = tree_python(tree)
    wheels = wheelhouse(python)

    def build(part: Path) -> None:
        install(part / HOME.lstrip("/"), python, wheels, dependencies())
        command = part / "usr/bin/autopilot"
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(COMMAND)
        command.chmod(0o755)

    return built(f"layer-{key(python, wheels.name, COMMAND)}", build)


def source_mounts() -> dict[str, Path]:
    """Where a host sees this checkout's package: every test runs what is in the editor now."""
    return {f"{HOME}/autopilot": REPO / "autopilot"}


def tree_python(tree: Path) -> str:
    """The version of a tree's Python, such as `3.13`."""
    return (tree / "usr/bin/python3").readlink().name.removeprefix("python")


def install(target: Path, python: str, wheels: Path, packages: list[str]) -> None:
    """Install from a wheelhouse alone, for another Python than ours."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-compile"),
            *("--find-links", str(wheels), "--target", str(target)),
            *("--python-version", python, "--only-binary=:all:"),
            *packages,
        ],
        check=True,
    )
