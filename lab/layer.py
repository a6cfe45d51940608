"""The supervisor for the lab's hosts: folders to lay over the Debian tree, compiled for the tree's Python.

The dependencies are one layer, kept; this checkout's own package is another, made afresh for each pool, so that every
test runs what is in the editor now and no later edit changes a run.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lab.cache import built, key
from lab.errors import LabError
from lab.host import Host, Tree
from lab.wheelhouse import REPO, install, wheelhouse

HOME = "/usr/lib/condor-autopilot"
COMMAND = f"""\
#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "{HOME}")
from autopilot.__main__ import main
sys.exit(main())
"""


def dependency_layer(tree: Path) -> Path:
    """What the supervisor imports, for the tree's Python. Kept for the next run."""
    python = tree_python(tree)
    wheels = wheelhouse(python)

    def build(part: Path) -> None:
        install(part / HOME.lstrip("/"), python, wheels)
        compile_layer(part, tree)

    return built(f"layer-{key(python, wheels.name)}", build)


def source_layer(tree: Path, target: Path) -> Path:
    """This checkout's package and the `autopilot` command, laid into `target`."""
    package = target / HOME.lstrip("/") / "autopilot"
    shutil.copytree(REPO / "autopilot", package, ignore=shutil.ignore_patterns("__pycache__"))
    command = target / "usr/bin/autopilot"
    command.parent.mkdir(parents=True)
    command.write_text(COMMAND)
    command.chmod(0o755)
    compile_layer(target, tree)
    return target


def compile_layer(layer: Path, tree: Path) -> None:
    """Byte-compile a layer's Python, inside the tree: only its own interpreter can."""
    with tempfile.TemporaryDirectory(dir=layer.parent) as folder:
        own = Path(folder) / "own"
        host = Host("compiler", ["python3", "-m", "compileall", "-q", HOME], tree=Tree(layers=[layer, tree], own=own))
        try:
            host.go()
            if host.wait(300) != 0:
                raise LabError(f"cannot compile {layer}: {host.log()}")
        finally:
            host.stop()
        shutil.copytree(own / "upper" / HOME.lstrip("/"), layer / HOME.lstrip("/"), dirs_exist_ok=True)


def tree_python(tree: Path) -> str:
    """The version of a tree's Python, such as `3.13`."""
    return (tree / "usr/bin/python3").readlink().name.removeprefix("python")
