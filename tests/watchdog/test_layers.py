"""The watchdog's layers: a pure core, no import circle, and nothing of the supervisor's package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.source_trees import list_imports

pytestmark = pytest.mark.xdist_group("sources")  # they are read once
PACKAGE = Path(__file__).parents[2] / "watchdog/autopilot_watchdog"
IMPURE = {"os", "socket", "subprocess", "time", "threading", "select", "signal", "http", "urllib", "pathlib"}


def test_nothing_of_autopilot() -> None:
    """The watchdog runs on hosts that have nothing of the supervisor."""
    for path in PACKAGE.rglob("*.py"):
        assert not [name for name in list_imports(path) if name.split(".")[0] == "autopilot"], path


def test_core_is_pure() -> None:
    """The core and the simulation open nothing, wait for nothing and read no clock."""
    for path in [*(PACKAGE / "core").glob("*.py"), *(PACKAGE / "simulation").glob("*.py")]:
        found = {name.split(".")[0] for name in list_imports(path)}
        assert not found & IMPURE, path


def test_core_knows_no_shell() -> None:
    """The core imports the core and the configuration's model, nothing above."""
    above = ("engine", "registry", "shell", "cli", "simulation", "watchdog_metrics")
    for path in (PACKAGE / "core").glob("*.py"):
        for name in list_imports(path):
            assert not name.startswith(tuple(f"autopilot_watchdog.{layer}" for layer in above)), f"{path}: {name}"


def name_module(path: Path) -> str:
    """Return the module name of a file."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_no_import_circle() -> None:
    """Neither modules nor folders import each other in a circle, late imports included."""
    paths = {name_module(path): path for path in PACKAGE.rglob("*.py")}
    modules = {name: {found for found in list_imports(path) if found in paths} for name, path in paths.items()}
    assert not find_circle(modules)
    folders: dict[str, set[str]] = {}
    for name, imported in modules.items():
        if name.count(".") < 2:
            continue  # the files beside the folders
        folder = name.rpartition(".")[0]
        others = {found.rpartition(".")[0] for found in imported if found.count(".") == 2}
        folders.setdefault(folder, set()).update(others - {folder})
    assert not find_circle(folders)


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the nodes that remain after those without outgoing edges are removed again and again."""
    remaining = dict(graph)
    while leaves := [name for name, others in remaining.items() if not others & remaining.keys() - {name}]:
        for name in leaves:
            del remaining[name]
    return sorted(remaining)
