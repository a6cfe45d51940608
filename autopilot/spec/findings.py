"""A finding: something wrong at a path of the spec, before its line and column are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autopilot.spec.parsing import KeyPath


@dataclass(frozen=True, slots=True)
class Finding:
    path: KeyPath
    message: str
    at_key: bool = False  # the key itself is wrong: point there, not at the value
    warning: bool = False
    related_paths: tuple[KeyPath, ...] = ()  # further paths this was concluded from


def format_path(path: KeyPath, tree: Any) -> str:
    """`jobs[web].health.ttl`: items of a list by their name where they have one."""
    text = ""
    for step in path:
        child = _get_child(tree, step)
        if isinstance(step, str):
            text += f".{step}" if text else step
        else:
            name = child.get("name") if isinstance(child, dict) else None
            text += f"[{name if isinstance(name, str) and name else step}]"
        tree = child
    return text


def _get_child(tree: Any, step: str | int) -> Any:
    try:
        return tree[step]
    except (KeyError, IndexError, TypeError):
        return None
