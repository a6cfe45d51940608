"""Name places in a tree of plain values by the keys and indices that lead to them."""

from __future__ import annotations

from typing import Any

KeyPath = tuple[str | int, ...]


def get_value_at(tree: Any, path: KeyPath) -> Any:
    """Return the value at a path, or None when the tree has no such place."""
    for step in path:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def format_path(path: KeyPath, tree: Any) -> str:
    """Return a path as text, such as `jobs[web].health.ttl`: list items by their `name` if they have one."""
    text = ""
    for step in path:
        child = get_value_at(tree, (step,))
        if isinstance(step, str):
            text += f".{step}" if text else step
        else:
            name = get_value_at(child, ("name",))
            text += f"[{name if isinstance(name, str) and name else step}]"
        tree = child
    return text
