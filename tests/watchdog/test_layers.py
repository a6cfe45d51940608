"""The watchdog's layers: a pure core, and nothing of the supervisor's package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "watchdog/autopilot_watchdog"
IMPURE = {"os", "socket", "subprocess", "time", "threading", "select", "signal", "http", "urllib", "pathlib"}


def list_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


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
    above = ("engine", "registry", "shell", "cli", "metrics")
    for path in (PACKAGE / "core").glob("*.py"):
        for name in list_imports(path):
            assert not name.startswith(tuple(f"autopilot_watchdog.{layer}" for layer in above)), f"{path}: {name}"
