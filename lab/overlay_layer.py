"""Build the supervisor for the lab's hosts: folders to lay over the Debian tree, compiled for the tree's Python.

The dependencies are one cached layer. This checkout's own package is another, rebuilt for each pool, so that every
test runs the current sources and no later edit changes a running test.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lab.cache import compute_cache_key, get_or_build
from lab.lab_errors import LabError
from lab.lab_host import DiskLayout, Host
from lab.wheelhouse import REPO, download_wheels, install_wheels

INSTALL_FOLDER = "/usr/lib/condor-autopilot"
COMMAND_SCRIPT = f"""\
#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "{INSTALL_FOLDER}")
from autopilot.__main__ import main
sys.exit(main())
"""


def build_dependency_layer(tree: Path) -> Path:
    """Return the cached layer with the supervisor's dependencies, for the tree's Python."""
    python = get_python_version(tree)
    wheels = download_wheels(python)

    def build(part: Path) -> None:
        install_wheels(part / INSTALL_FOLDER.lstrip("/"), python, wheels)
        compile_layer(part, tree)

    return get_or_build(f"layer-{compute_cache_key(python, wheels.name)}", build)


def build_source_layer(tree: Path, target: Path) -> Path:
    """Copy this checkout's package and the `autopilot` command into `target`, compile it and return it."""
    package = target / INSTALL_FOLDER.lstrip("/") / "autopilot"
    shutil.copytree(REPO / "autopilot", package, ignore=shutil.ignore_patterns("__pycache__"))
    command = target / "usr/bin/autopilot"
    command.parent.mkdir(parents=True)
    command.write_text(COMMAND_SCRIPT)
    command.chmod(0o755)
    compile_layer(target, tree)
    return target


def compile_layer(layer: Path, tree: Path) -> None:
    """Byte-compile a layer's Python inside the tree: only the tree's own interpreter can."""
    with tempfile.TemporaryDirectory(dir=layer.parent) as folder:
        own = Path(folder) / "own"
        host = Host(
            "compiler",
            ["python3", "-m", "compileall", "-q", INSTALL_FOLDER],
            tree=DiskLayout(layers=[layer, tree], writable_folder=own),
        )
        try:
            host.start_command()
            if host.wait(300) != 0:
                raise LabError(f"cannot compile {layer}: {host.read_log()}")
        finally:
            host.stop()
        shutil.copytree(
            own / "upper" / INSTALL_FOLDER.lstrip("/"), layer / INSTALL_FOLDER.lstrip("/"), dirs_exist_ok=True
        )


def get_python_version(tree: Path) -> str:
    """Return the version of a tree's Python, such as `3.13`."""
    return (tree / "usr/bin/python3").readlink().name.removeprefix("python")
