"""Look through the syntax trees of sources: statements alone, because expressions are most of a tree."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path


def walk_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements below a node, with the handlers and cases that hold some of them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield child
            yield from walk_statements(child)


@functools.cache
def list_imports(path: Path) -> tuple[str, ...]:
    """Return the modules that a file imports, wherever in it; `from PACKAGE import NAME` gives PACKAGE.NAME, too."""
    found: list[str] = []
    for node in walk_statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    return tuple(found)
